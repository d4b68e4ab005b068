# VGG-19: the first two convs and the last one of every stage stay whole, and are compared with the dense network's
_base_ = ['../_base_/models/vgg16_dfbf_cifar.py', '../_base_/dfbf_cifar.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(depth=19))
load_from = 'data/weights/vgg19_cifar10.pt'

pruning = dict(
    pruner=dict(keep=[f'features.{conv}' for conv in (0, 3, 10, 23, 36, 49)],
                allocator=dict(thresholds=(201, 300, 501), factors=(0.4, 1.0, 0.4, 1.3))),
    distillation=dict(include_untouched=True))

# VGG-19 on CIFAR-100
_base_ = ['../_base_/models/vgg16_dfbf_cifar.py', '../_base_/dfbf_cifar100.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, data_preprocessor=dict(num_classes=100),
             backbone=dict(depth=19), head=dict(num_classes=100))
load_from = 'data/weights/vgg19_cifar100.pt'

pruning = dict(
    pruner=dict(keep=[f'features.{conv}' for conv in (0, 3, 10, 23, 36, 49)],
                allocator=dict(thresholds=(201, 300, 501), factors=(0.4, 1.0, 0.4, 1.3))),
    distillation=dict(include_untouched=True))

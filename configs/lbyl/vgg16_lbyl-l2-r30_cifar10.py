# VGG-16 of the authors; every conv loses `ratio`, the last one hands its channels to the first linear layer
_base_ = ['../_base_/models/vgg16_lbyl_cifar.py', 'mmpretrain::_base_/datasets/cifar10_bs16.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/vgg16_lbyl_cifar10.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', prune_interface=True,
                allocator=dict(type='Uniform', ratio=0.3)),
    restorer=dict(type='LBYL', lambda1=1e-6, lambda2=0.01),
    input_shape=(3, 32, 32))

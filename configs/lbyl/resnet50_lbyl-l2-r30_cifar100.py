# Bottleneck ResNet-50 of the authors; conv1 and conv2 of every block lose `ratio`, residual sums stay whole
_base_ = ['../_base_/models/resnet50_lbyl_cifar100.py', 'mmpretrain::_base_/datasets/cifar100_bs16.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet50_lbyl_cifar100.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3),
                keep=['conv1', '*.conv3', '*.downsample*']),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3),
    input_shape=(3, 32, 32))

# The widely used ResNet-20; the first conv of every block loses half, repaired without an image
_base_ = ['../_base_/models/resnet20_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet20_cifar10.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2']),
    restorer=dict(type='MomentRestoration'),
    input_shape=(3, 32, 32))

# ResNet-56 of the Neuron Merging authors; the first conv of every block loses half, repaired without an image
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10_lossless.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='MomentRestoration'),
    input_shape=(3, 32, 32))

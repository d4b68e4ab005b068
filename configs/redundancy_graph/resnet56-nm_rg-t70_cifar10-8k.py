# Neuron Merging's ResNet-56 without an image: similarities on Gaussian noise, inner convs only, MomentRestoration
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10_lossless.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', threshold=0.7, inputs='noise'),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='MomentRestoration'),
    input_shape=(3, 32, 32))

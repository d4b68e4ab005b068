# VGG-16-BN as logged by the X-Nets authors: three dense convs, 128 x 128 with degree 64, then 16, linear layer 128
_base_ = ['vgg16_rreg-d3_cifar10.py']

pruning = dict(pruner=dict(
    graph=dict(type='XNet', chooser='smaller'), degree=16,
    overrides={'backbone.features.10': 64, 'neck.layers.0': 128},
    keep=['backbone.features.0', 'backbone.features.3', 'backbone.features.7']))

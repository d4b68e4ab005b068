# The widely used ResNet-20: 60 % of all weights gone, curves measured on N(0, 1), no image used; then batch
# norms repaired, without an image either
_base_ = ['../_base_/models/resnet20_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet20_cifar10.pth'

pruning = dict(
    target='',
    pruner=dict(type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.6, curves=dict(num_images=128, points=32))),
    restorer=dict(type='MomentRestoration', moments='noise'),
    input_shape=(3, 32, 32))

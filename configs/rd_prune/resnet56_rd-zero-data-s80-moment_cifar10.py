# Neuron Merging's ResNet-56: 80 % of all weights gone, batch norms repaired; no image used for either
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'

pruning = dict(
    target='',
    pruner=dict(type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.8, curves=dict(num_images=64, points=32))),
    restorer=dict(type='MomentRestoration', moments='noise'),
    input_shape=(3, 32, 32))

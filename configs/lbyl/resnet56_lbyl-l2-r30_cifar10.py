# ResNet-56 of the Neuron Merging authors; the first conv of every block loses `ratio`, residual sums stay whole
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3),
    input_shape=(3, 32, 32))

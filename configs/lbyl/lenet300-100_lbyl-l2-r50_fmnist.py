# LeNet-300-100 of the authors; both hidden layers lose `ratio`, widths are rounded, λ2 alone matters (no batch norm)
_base_ = ['../_base_/models/lenet300_fmnist.py', '../_base_/datasets/fashion_mnist.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/lenet300_100_fashion_mnist.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', prune_interface=True,
                allocator=dict(type='Uniform', ratio=0.5, rounding='round')),
    restorer=dict(type='LBYL', lambda1=0, lambda2=0.3),
    input_shape=(1, 28, 28))

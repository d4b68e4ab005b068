# ResNet-56 of the Neuron Merging authors, the first conv of every block, no repair: what every method starts from.
# With pruning.finetune=True, one epoch on 8,068 labelled images follows
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10_lossless.py',
          '../_base_/default_runtime.py', '../_base_/schedules/cifar_6e.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'
train_cfg = dict(max_epochs=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(eta_max=0.01, total_steps=64)

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=None,
    input_shape=(3, 32, 32))

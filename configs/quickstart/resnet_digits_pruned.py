# Half of the inner channels gone, repaired without an image; then one epoch of fine-tuning with the training images
_base_ = ['resnet_digits.py']

model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'work_dirs/quickstart/dense/epoch_6.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='MomentOBS', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='MomentRestoration'),
    finetune=True,
    input_shape=(3, 32, 32))
train_cfg = dict(max_epochs=1, val_interval=1)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(T_max=1)

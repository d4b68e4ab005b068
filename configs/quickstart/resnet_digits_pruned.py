# Half of the inner channels gone, repaired in closed form, fine-tuned on images from the dense network: no data at all
_base_ = ['resnet_digits.py']

model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'work_dirs/quickstart/dense/epoch_6.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='MomentOBS', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='MomentRestoration'),
    images=dict(type='DeepInversion', num_images=64, batch_size=64, phases=[dict(iterations=80, jitter=2)], warmup=10),
    distillation=dict(type='FeatureDistillation', bn='eval'),
    finetune=True, input_shape=(3, 32, 32))
train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=15, val_interval=15)
optim_wrapper = dict(optimizer=dict(lr=0.01))
param_scheduler = dict(T_max=15)

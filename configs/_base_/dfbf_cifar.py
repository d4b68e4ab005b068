# DFBF on CIFAR-10 with the published settings: ResNets; 12,800 images from the dense network, 200 epochs on them
_base_ = ['mmpretrain::_base_/datasets/cifar10_bs16.py', 'default_runtime.py']

pruning = dict(
    target='backbone',
    restorer=None,
    pruner=dict(
        type='ChannelPruner', criterion='SquaredSum', order='sequential', keep=['conv1', '*.conv2', '*.downsample*'],
        allocator=dict(type='WidthDependent', ratio=0.5)),
    images=dict(
        type='DeepInversion', num_images=12800, batch_size=256, phases=[dict(iterations=2000, jitter=2)],
        lr=0.1, betas=(0.9, 0.99), lr_schedule='cosine', warmup=100,
        main_weight=1.0, bn_weight=10.0, first_bn_multiplier=1.0, tv2_weight=1e-3, l2_weight=0.0, l2_norm='batch'),
    distillation=dict(type='FeatureDistillation', criterion='l1', weights=0, bn='train'),
    finetune=True,
    input_shape=(3, 32, 32),
)

train_dataloader = dict(batch_size=256)
val_dataloader = dict(batch_size=256)
test_dataloader = dict(batch_size=256)
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[150], gamma=0.1)

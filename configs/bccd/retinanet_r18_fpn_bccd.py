# A small RetinaNet trained from scratch on BCCD: the detector that the repairs are measured on
_base_ = ['mmdet::_base_/models/retinanet_r50_fpn.py', '../_base_/datasets/bccd.py', '../_base_/default_runtime.py']
default_scope = 'mmdet'

model = dict(
    backbone=dict(depth=18, base_channels=32, frozen_stages=-1, norm_eval=False, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    bbox_head=dict(num_classes=3, in_channels=64, feat_channels=64, stacked_convs=2),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=30, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05), clip_grad=dict(max_norm=35))
param_scheduler = dict(type='OneCycleLR', eta_max=1e-3, total_steps=30 * 52, by_epoch=False)

# OneCycleLR's state holds functions, which a checkpoint that is safe to read may not
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2, save_param_scheduler=False))

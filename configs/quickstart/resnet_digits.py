# A small ResNet on scikit-learn's digits: the dense network that the quickstart prunes (under a minute of one core)
_base_ = ['../_base_/datasets/digits.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmprune.CIFARResNet', depth=20, shortcut='conv1x1', base_channels=32, stem_pool=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=6)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(type='CosineAnnealingLR', T_max=6, by_epoch=True, convert_to_iter_based=True)

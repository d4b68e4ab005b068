# A DenseNet of depth 16, growth 8, trained on the JPEG copy of CIFAR-10: a network to prune, not a record
_base_ = ['../_base_/datasets/cifar10_jpeg.py', '../_base_/schedules/cifar_6e.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmprune.CIFARDenseNet', blocks=(4, 4, 4), growth_rate=8, bottleneck=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=112, loss=dict(type='CrossEntropyLoss')),
)
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = dict(total_steps=3 * 391)

# MobileNetV2 of half width, trained on the JPEG copy of CIFAR-10: a network to prune, not a record
_base_ = ['../_base_/datasets/cifar10_jpeg.py', '../_base_/schedules/cifar_6e.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='MobileNetV2', widen_factor=0.5, out_indices=(7, )),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=1280, loss=dict(type='CrossEntropyLoss')),
)

# At 32x32 the network's five strides leave a single pixel
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='RandomCrop', crop_size=32, padding=4),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(type='Resize', scale=48),
    dict(type='PackInputs'),
]
test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=48), dict(type='PackInputs')]
train_cfg = dict(max_epochs=3, val_interval=3)
param_scheduler = dict(total_steps=3 * 391)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

# A quarter of VGG-16-BN's width, trained on the JPEG copy of CIFAR-10: a network to prune, not a record
_base_ = ['../_base_/datasets/cifar10_jpeg.py', '../_base_/schedules/cifar_6e.py', '../_base_/default_runtime.py']

model = dict(
    type='ImageClassifier',
    backbone=dict(type='mmprune.CIFARVGG', depth=16, bias=False,
                  widths=(16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128)),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)

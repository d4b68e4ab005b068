# A quarter of VGG-16-BN's width and no hidden linear layer: small enough to be trained many times on a CPU
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=False),
    backbone=dict(
        type='mmprune.CIFARVGG',
        depth=16,
        widths=(16, 16, 32, 32, 64, 64, 64, 128, 128, 128, 128, 128, 128),
        bias=False,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=128, loss=dict(type='CrossEntropyLoss')),
)

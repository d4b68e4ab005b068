# ResNet-56 of the redundancy graph: 3x3 conv shortcuts (depth=110 for ResNet-110)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2023 * 255, 0.1994 * 255, 0.2010 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARResNet', depth=56, shortcut='conv3x3'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)

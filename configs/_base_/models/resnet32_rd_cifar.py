# ResNet-32 of RD_PRUNE: 1x1 conv shortcuts
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.247 * 255, 0.243 * 255, 0.261 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARResNet', depth=32, shortcut='conv1x1'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)

# ResNet-18 of RD_PRUNE: 3x3 stem of stride 1
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.247 * 255, 0.243 * 255, 0.261 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.WideCIFARResNet', depth=18),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss')),
)

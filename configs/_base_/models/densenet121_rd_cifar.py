# DenseNet-BC of RD_PRUNE ("DenseNet-121" with growth 12)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.247 * 255, 0.243 * 255, 0.261 * 255],
        to_rgb=False,
    ),
    backbone=dict(
        type='mmprune.CIFARDenseNet',
        blocks=(6, 12, 24, 16),
        growth_rate=12,
        bottleneck=True,
        reduction=0.5,
        prepend=True,
    ),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=384, loss=dict(type='CrossEntropyLoss')),
)

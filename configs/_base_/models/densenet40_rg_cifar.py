# DenseNet-40 (growth 12) of the redundancy graph
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2023 * 255, 0.1994 * 255, 0.2010 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARDenseNet'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=456, loss=dict(type='CrossEntropyLoss')),
)

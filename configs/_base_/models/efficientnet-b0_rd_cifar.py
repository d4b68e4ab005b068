# EfficientNet-B0 of RD_PRUNE for 32 x 32 images
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.247 * 255, 0.243 * 255, 0.261 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFAREfficientNet'),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=320, loss=dict(type='CrossEntropyLoss')),
)

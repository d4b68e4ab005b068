# VGG-16 of the redundancy graph: as LBYL's, with conv bias
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2023 * 255, 0.1994 * 255, 0.2010 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARVGG', depth=16, last_pool='avg'),
    neck=dict(type='mmprune.MLPNeck', in_channels=512, norm=True),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss')),
)

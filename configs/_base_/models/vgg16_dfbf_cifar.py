# VGG-16 of DFBF: conv bias, five max-pools, two hidden layers of 4096 (depth=19 for VGG-19)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2471 * 255, 0.2435 * 255, 0.2616 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARVGG', depth=16),
    neck=dict(type='mmprune.MLPNeck', in_channels=512, hidden_channels=(4096, 4096), dropout=0.5),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=4096, loss=dict(type='CrossEntropyLoss')),
)

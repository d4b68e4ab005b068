# VGG-16 of the expanders: no conv bias, five max-pools, a hidden layer with dropout
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=False),
    backbone=dict(type='mmprune.CIFARVGG', depth=16, bias=False),
    neck=dict(type='mmprune.MLPNeck', in_channels=512, dropout=0.5),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss')),
)

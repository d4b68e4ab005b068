# ResNet-50 of LBYL for CIFAR-100: 3x3 stem of stride 1
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=100,
        mean=[0.5071 * 255, 0.4867 * 255, 0.4408 * 255],
        std=[0.2675 * 255, 0.2565 * 255, 0.2761 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.WideCIFARResNet', depth=50),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=100, in_channels=2048, loss=dict(type='CrossEntropyLoss')),
)

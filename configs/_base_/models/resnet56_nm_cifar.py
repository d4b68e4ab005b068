# ResNet-56 of Neuron Merging: 1x1 conv shortcuts, ReLU at the start of each block
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2023 * 255, 0.1994 * 255, 0.2010 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.CIFARResNet', depth=56, shortcut='conv1x1', pre_relu=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=64, loss=dict(type='CrossEntropyLoss')),
)

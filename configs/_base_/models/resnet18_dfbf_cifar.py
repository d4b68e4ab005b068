# ResNet-18 of DFBF: 3x3 stem of stride 1 and a max-pool behind it (depth=34 for ResNet-34)
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(
        num_classes=10,
        mean=[0.4914 * 255, 0.4822 * 255, 0.4465 * 255],
        std=[0.2471 * 255, 0.2435 * 255, 0.2616 * 255],
        to_rgb=False,
    ),
    backbone=dict(type='mmprune.WideCIFARResNet', depth=18, stem_pool=True),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(type='LinearClsHead', num_classes=10, in_channels=512, loss=dict(type='CrossEntropyLoss')),
)

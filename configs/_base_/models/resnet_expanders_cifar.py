# ResNets of the expanders: ImageNet's kind for 32x32 images too; other depths than 18 change backbone.depth
# (and head.in_channels=2048 from 50 on). The published "ResNet 32" is this ResNet with depth=34
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[125.3, 123.0, 113.9], std=[63.0, 62.1, 66.7], to_rgb=False),
    backbone=dict(
        type='ResNet', depth=18, num_stages=4, out_indices=(3, ), style='pytorch', zero_init_residual=False),
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='LinearClsHead', num_classes=10, in_channels=512, init_cfg=None, loss=dict(type='CrossEntropyLoss')),
)

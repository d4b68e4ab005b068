# DFBF's parts for a detector, ResNet-50: 1,600 images from the dense backbone; head, neck, stem and sums stay whole

pruning = dict(
    target='backbone',
    restorer=None,
    pruner=dict(
        type='ChannelPruner', criterion='SquaredSum', order='sequential', keep=['conv1', '*.conv3', '*.downsample*'],
        allocator=dict(type='WidthDependent', ratio=0.1)),
    images=dict(
        type='DeepInversion', num_images=1600, batch_size=16, shape=(3, 250, 250),
        phases=[dict(iterations=2000, downscale=2, jitter=15), dict(iterations=1000, jitter=30)], flip=True,
        lr=0.25, betas=(0.5, 0.9), lr_schedule='constant',
        bn_weight=0.01, first_bn_multiplier=10.0, tv2_weight=1e-4, l2_weight=1e-5, l2_norm='image'),
    distillation=dict(type='FeatureDistillation', criterion='l1', weights=2, bn='host'),
    finetune=True,
    input_shape=(3, 256, 256),
)

# Channels instead of weights: the inner convs of ResNet-56 lose what brings the backbone to half of its FLOPs with the
# least change of the logits, measured on N(0, 1); repaired without an image
_base_ = ['resnet56_rd-zero-data-s80-moment_cifar10-8k.py']

pruning = dict(
    target='backbone',
    pruner=dict(_delete_=True, type='ChannelPruner', criterion='MomentOBS', keep=['conv1', '*.conv2', '*.downsample*'],
                allocator=dict(type='RateDistortion', target=dict(flops=0.5),
                               curves=dict(num_images=128, points=32))))

# Half of the inner channels of the small RetinaNet's backbone gone, repaired without an image
_base_ = ['retinanet_r18_fpn_bccd.py']

model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'work_dirs/retinanet_r18_fpn_bccd/epoch_30.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    restorer=dict(type='MomentRestoration'),
    images='train_dataloader',
    num_images=205,
    input_shape=(3, 240, 320),
)

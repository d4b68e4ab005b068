# FCOS's backbone on COCO: 30 % of its FLOPs go where its maps move least, measured on N(0, 1); no image
_base_ = ['../_base_/detectors/fcos_r50-caffe_fpn_coco.py', '../_base_/default_pruning.py']

pruning = dict(
    pruner=dict(_delete_=True, type='ChannelPruner', criterion='MomentOBS', keep=['conv1', '*.conv3', '*.downsample*'],
                round_to=8, allocator=dict(type='RateDistortion', target=dict(flops=0.7),
                                               curves=dict(num_images=16, points=16))),
    restorer=dict(type='MomentRestoration'))

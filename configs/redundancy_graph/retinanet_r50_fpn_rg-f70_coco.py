# RetinaNet's backbone without an image: the threshold that leaves 70 % of its FLOPs, similarities on Gaussian noise
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/default_pruning.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco/'
             'retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth')

pruning = dict(
    pruner=dict(_delete_=True, type='ChannelPruner', keep=['conv1', '*.conv3', '*.downsample*'], round_to=8,
                criterion=dict(type='RedundancyGraph', target=dict(flops=0.7), inputs='noise')),
    restorer=dict(type='MomentRestoration'))

# RetinaNet's backbone: inner convs of every block lose 30 %, repaired without an image; neck and heads untouched
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/default_pruning.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco/'
             'retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth')

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.3), keep=['conv1', '*.conv3', '*.downsample*'], round_to=8),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3))

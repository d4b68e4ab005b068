# RetinaNet, ResNet-50, on COCO with mmdet's published weights
_base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/retinanet/retinanet_r50_fpn_1x_coco/'
             'retinanet_r50_fpn_1x_coco_20200130-c2398f9e.pth')

# Faster R-CNN, ResNet-50, on COCO with mmdet's published weights
_base_ = ['mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/faster_rcnn/faster_rcnn_r50_fpn_1x_coco/'
             'faster_rcnn_r50_fpn_1x_coco_20200130-047c8118.pth')

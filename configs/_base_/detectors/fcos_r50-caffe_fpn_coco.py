# FCOS, ResNet-50, on COCO with mmdet's published weights
_base_ = ['mmdet::fcos/fcos_r50-caffe_fpn_gn-head_1x_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/fcos/fcos_r50_caffe_fpn_gn-head_1x_coco/'
             'fcos_r50_caffe_fpn_gn-head_1x_coco-821213aa.pth')

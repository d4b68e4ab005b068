# RTMDet-tiny, CSPNeXt, on COCO with mmdet's published weights
_base_ = ['mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v3.0/rtmdet/rtmdet_tiny_8xb32-300e_coco/'
             'rtmdet_tiny_8xb32-300e_coco_20220902_112414-78e30dcc.pth')

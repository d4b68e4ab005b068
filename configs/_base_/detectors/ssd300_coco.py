# SSD, VGG-16, on COCO with mmdet's published weights
_base_ = ['mmdet::ssd/ssd300_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/ssd/ssd300_coco/'
             'ssd300_coco_20210803_015428-d231a06e.pth')

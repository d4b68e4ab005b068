# YOLOX-S, CSPDarknet, on COCO with mmdet's published weights
_base_ = ['mmdet::yolox/yolox_s_8xb8-300e_coco.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = ('https://download.openmmlab.com/mmdetection/v2.0/yolox/yolox_s_8x8_300e_coco/'
             'yolox_s_8x8_300e_coco_20211121_095711-4592a793.pth')

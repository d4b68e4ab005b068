# RetinaNet, ResNet-50, on VOC: train the detector first with mmdet's own config
_base_ = ['mmdet::pascal_voc/retinanet_r50_fpn_1x_voc0712.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = 'checkpoints/retinanet_r50_fpn_1x_voc0712.pth'

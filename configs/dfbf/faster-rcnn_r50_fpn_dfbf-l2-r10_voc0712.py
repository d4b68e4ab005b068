# Faster R-CNN, ResNet-50, on VOC: train the detector first with mmdet's own config
_base_ = ['mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py', '../_base_/dfbf_detection.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(init_cfg=None))
load_from = 'checkpoints/faster-rcnn_r50_fpn_1x_voc0712.pth'

train_dataloader = dict(batch_size=16)
train_cfg = dict(max_epochs=10, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[7], gamma=0.1)]

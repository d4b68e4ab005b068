# RetinaNet on COCO with DFBF's parts; settings of Faster R-CNN, nothing is published for it
_base_ = ['../_base_/detectors/retinanet_r50_fpn_coco.py', '../_base_/dfbf_detection.py']

train_dataloader = dict(batch_size=16)
train_cfg = dict(max_epochs=5, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[3], gamma=0.1)]

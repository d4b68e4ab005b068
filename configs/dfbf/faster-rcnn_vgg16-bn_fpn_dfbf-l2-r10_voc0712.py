# Faster R-CNN, VGG-16 with batch norm, on VOC (settings of COCO; no command is published for it)
_base_ = ['mmdet::pascal_voc/faster-rcnn_r50_fpn_1x_voc0712.py', '../_base_/dfbf_detection.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, neck=dict(in_channels=[128, 256, 512, 512]),
             backbone=dict(_delete_=True, type='mmprune.VGGBN', depth=16))
load_from = 'checkpoints/faster-rcnn_vgg16-bn_fpn_1x_voc0712.pth'
pruning = dict(
    pruner=dict(keep=[f'features.{conv}' for conv in (0, 3, 10, 20, 30, 40)],
                allocator=dict(thresholds=(201, 300, 501), factors=(0.4, 1.0, 0.4, 1.3))),
    distillation=dict(weights=5))

train_dataloader = dict(batch_size=16)
train_cfg = dict(max_epochs=65, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[60], gamma=0.1)]

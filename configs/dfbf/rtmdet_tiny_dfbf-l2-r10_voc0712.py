# RTMDet-tiny on VOC with DFBF's parts; settings of Faster R-CNN, nothing is published for it
_base_ = ['../_base_/detectors/rtmdet_tiny_voc0712.py', '../_base_/dfbf_detection.py']
pruning = dict(
    pruner=dict(keep=['*.main_conv.conv']),
    images=dict(shape=(3, 256, 256)))

train_dataloader = dict(batch_size=16)
train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=10, val_interval=10)
optim_wrapper = dict(_delete_=True, type='OptimWrapper',
                     optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[7], gamma=0.1)]

# SSD on COCO with DFBF's parts; VGG-16 has no batch norms to invert, so that the images are noise
_base_ = ['../_base_/detectors/ssd300_coco.py', '../_base_/dfbf_detection.py']
pruning = dict(
    pruner=dict(keep=[]),
    images=dict(_delete_=True, type='GaussianNoise', num_images=1600, batch_size=16, shape=(3, 300, 300)),
    input_shape=(3, 300, 300))

train_dataloader = dict(batch_size=16)
train_cfg = dict(max_epochs=5, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=0.01, weight_decay=5e-4))
param_scheduler = [dict(type='MultiStepLR', milestones=[3], gamma=0.1)]

# Redundancy graph, ImageNet fine-tuning of the last release, batch 256
train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = dict(type='StepLR', step_size=20, gamma=0.1, by_epoch=True)
auto_scale_lr = dict(base_batch_size=256)

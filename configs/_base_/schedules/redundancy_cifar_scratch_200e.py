# Redundancy graph, dense CIFAR networks, batch 256
train_cfg = dict(by_epoch=True, max_epochs=200, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='StepLR', step_size=50, gamma=0.1, by_epoch=True)
auto_scale_lr = dict(base_batch_size=256)

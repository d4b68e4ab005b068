# DFBF's optimiser, 20 epochs: for small sets of synthetic images
train_cfg = dict(by_epoch=True, max_epochs=20, val_interval=20)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4))
param_scheduler = dict(type='MultiStepLR', milestones=[15], gamma=0.1)

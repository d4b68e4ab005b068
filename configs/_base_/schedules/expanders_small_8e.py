# Eight epochs of 8,068 images in batches of 64: a comparison of graphs, not a record
train_cfg = dict(by_epoch=True, max_epochs=8, val_interval=8)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(type='CosineAnnealingLR', T_max=8, by_epoch=True, convert_to_iter_based=True)

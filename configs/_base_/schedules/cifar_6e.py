# Six epochs, one cycle of the learning rate: enough for a network worth pruning, short enough for two cores
train_cfg = dict(by_epoch=True, max_epochs=6, val_interval=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(type='OneCycleLR', eta_max=0.2, total_steps=6 * 391, pct_start=0.25, by_epoch=False)

# RD_PRUNE as published for CIFAR-10: twenty steps, each takes 20 % of what is left (98.85 % in all), curves on 1,024
# training images, AdamW anew after every step. Behind it: load_from, and how many epochs of 500 iterations a step has
# (train_cfg.max_epochs is 20 times schedule.interval).
pruning = dict(
    target='', restorer=None, finetune=True, images='train_dataloader', num_images=1024,
    schedule=dict(type='exponential', steps=20, amount=0.2, interval=80, fresh_optimizer=True),
    pruner=dict(type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.98847, curves=dict(num_images=1024, points=100))),
    input_shape=(3, 32, 32))

train_cfg = dict(by_epoch=True, max_epochs=1600, val_interval=80)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.01))
param_scheduler = None

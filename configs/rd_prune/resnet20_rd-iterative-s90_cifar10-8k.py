# Five steps to 90 %, each 37 % of what is left, with fine-tuning in between: curves are measured anew at every step
_base_ = ['resnet20_rd-one-shot-s60_cifar10-8k.py']

pruning = dict(
    finetune=True, num_images=64,
    schedule=dict(type='exponential', steps=5, amount=0.369, interval=1, fresh_optimizer=True),
    pruner=dict(allocator=dict(ratio=0.9, curves=dict(num_images=64, points=25))))
train_cfg = dict(by_epoch=True, max_epochs=5, val_interval=5)
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=3e-4, weight_decay=0.01))
param_scheduler = dict(type='CosineAnnealingLR', T_max=1, by_epoch=True, convert_to_iter_based=True)

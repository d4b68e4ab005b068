# Expanders, VGG-16: batch 128 on CIFAR-10 and 1,024 on Tiny ImageNet; lr is halved every 30 epochs and stays at 7.8e-4
# from epoch 180 on (the published scheduler stops where the next halving would go below min_lr=5e-4)
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.05, momentum=0.9, weight_decay=5e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', milestones=[30, 60, 90, 120, 150, 180], gamma=0.5, by_epoch=True)

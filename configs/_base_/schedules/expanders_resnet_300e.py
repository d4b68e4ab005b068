# Expanders, ResNets: batch 1,024 on CIFAR-10 and 128 on Tiny ImageNet; lr is halved every 30 epochs
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=1e-4, nesterov=True))
param_scheduler = dict(type='MultiStepLR', milestones=list(range(30, 300, 30)), gamma=0.5, by_epoch=True)

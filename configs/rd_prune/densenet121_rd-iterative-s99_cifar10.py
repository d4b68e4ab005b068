# DenseNet-BC with growth 12 as published: twenty steps of 120 epochs each, 1.15 % of the weights are left
_base_ = ['../_base_/models/densenet121_rd_cifar.py', '../_base_/datasets/expanders_cifar10.py',
          '../_base_/rd_iterative_cifar.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
train_dataloader = dict(batch_size=100, drop_last=True)
load_from = 'checkpoints/densenet121_rd_cifar10.pth'

pruning = dict(schedule=dict(interval=120))
train_cfg = dict(max_epochs=2400, val_interval=120)

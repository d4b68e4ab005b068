# ResNet-18 as published: twenty steps of 80 epochs each, 1.15 % of the weights are left
_base_ = ['../_base_/models/resnet18_rd_cifar.py', '../_base_/datasets/expanders_cifar10.py',
          '../_base_/rd_iterative_cifar.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
train_dataloader = dict(batch_size=100, drop_last=True)
load_from = 'checkpoints/resnet18_rd_cifar10.pth'

# The dense ResNet-101 on CIFAR-10 that the expanders are compared with
_base_ = ['../_base_/models/resnet_expanders_cifar.py', '../_base_/datasets/expanders_cifar10.py',
          '../_base_/schedules/expanders_resnet_300e.py', '../_base_/default_runtime.py']
model = dict(backbone=dict(depth=101), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=1024)

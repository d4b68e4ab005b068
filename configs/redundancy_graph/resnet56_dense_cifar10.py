# The dense ResNet-56 that resnet56_rg-t70 starts from (200 epochs; put the last checkpoint under checkpoints/)
_base_ = ['../_base_/models/resnet56_rg_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/schedules/redundancy_cifar_scratch_200e.py', '../_base_/default_runtime.py']
train_dataloader = dict(batch_size=256)

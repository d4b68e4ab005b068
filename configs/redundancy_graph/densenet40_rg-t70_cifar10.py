# DenseNet-40 as published: threshold 0.70 on 100 training images, then 70 epochs
_base_ = ['../_base_/models/densenet40_rg_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/schedules/redundancy_cifar_70e.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'checkpoints/densenet40_rg_cifar10.pth'
train_dataloader = dict(batch_size=256)

pruning = dict(
    target='', restorer=None,
    pruner=dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', threshold=0.7, inputs='real')),
    images='train_dataloader', num_images=100, finetune=True, input_shape=(3, 32, 32))

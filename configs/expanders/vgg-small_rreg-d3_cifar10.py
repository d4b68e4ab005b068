# A small VGG on CIFAR-10
_base_ = ['../_base_/models/vgg-small_expanders_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/schedules/expanders_small_8e.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
train_dataloader = dict(batch_size=64, num_workers=0)

pruning = dict(
    target='', finetune=True, input_shape=(3, 32, 32),
    pruner=dict(type='ExpanderPruner', graph=dict(type='RandomRegular'), degree=3))

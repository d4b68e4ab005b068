# ResNet-34 on CIFAR-10, random regular graphs of degree 3, as scripted by the authors
_base_ = ['../_base_/models/resnet_expanders_cifar.py', '../_base_/datasets/expanders_cifar10.py',
          '../_base_/schedules/expanders_resnet_300e.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(depth=34))
train_dataloader = dict(batch_size=1024)

pruning = dict(
    target='', finetune=True, input_shape=(3, 32, 32),
    pruner=dict(type='ExpanderPruner', graph=dict(type='RandomRegular'), degree=3, dense_stem=True))

# ResNet-101 on Tiny ImageNet, random regular graphs of degree 3, as scripted by the authors
_base_ = ['../_base_/models/resnet_expanders_tiny.py', '../_base_/datasets/tiny_imagenet_224.py',
          '../_base_/schedules/expanders_resnet_300e.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, backbone=dict(depth=101), head=dict(in_channels=2048))
train_dataloader = dict(batch_size=128)

pruning = dict(
    target='', finetune=True, input_shape=(3, 224, 224),
    pruner=dict(type='ExpanderPruner', graph=dict(type='RandomRegular'), degree=3, dense_stem=True))

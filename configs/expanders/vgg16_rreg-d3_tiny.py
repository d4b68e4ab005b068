# VGG-16-BN on Tiny ImageNet, random regular graphs of degree 3, as scripted by the authors
_base_ = ['../_base_/models/vgg16_expanders_tiny.py', '../_base_/datasets/tiny_imagenet_32.py',
          '../_base_/schedules/expanders_vgg_300e.py', '../_base_/default_runtime.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
train_dataloader = dict(batch_size=1024)

pruning = dict(
    target='', finetune=True, input_shape=(3, 32, 32),
    pruner=dict(type='ExpanderPruner', graph=dict(type='RandomRegular'), degree=3))

# The dense ResNet-34 on Tiny ImageNet that the expanders are compared with
_base_ = ['../_base_/models/resnet_expanders_tiny.py', '../_base_/datasets/tiny_imagenet_224.py',
          '../_base_/schedules/expanders_resnet_300e.py', '../_base_/default_runtime.py']
model = dict(backbone=dict(depth=34))
train_dataloader = dict(batch_size=128)

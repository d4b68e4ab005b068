# The dense VGG-16-BN on Tiny ImageNet that the expanders are compared with
_base_ = ['../_base_/models/vgg16_expanders_dense_tiny.py', '../_base_/datasets/tiny_imagenet_32.py',
          '../_base_/schedules/expanders_vgg_300e.py', '../_base_/default_runtime.py']
train_dataloader = dict(batch_size=1024)

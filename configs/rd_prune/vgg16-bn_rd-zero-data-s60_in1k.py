# VGG-16 with batch norm, mmpretrain's weights: 60 % of all weights gone, curves on N(0, 1), no image used
_base_ = ['mmpretrain::vgg/vgg16bn_8xb32_in1k.py', '../_base_/default_pruning.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'https://mmassets.onedl.ai/mmclassification/v0/vgg/vgg16_bn_batch256_imagenet_20210208-7e55cd29.pth'

pruning = dict(
    target='',
    pruner=dict(_delete_=True, type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.6, curves=dict(num_images=256, points=32))),
    restorer=dict(type='MomentRestoration', moments='noise'))

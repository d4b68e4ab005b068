# ResNet-50 with torchvision's weights: 60 % of all weights gone, curves on N(0, 1), no image used
_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py', '../_base_/default_pruning.py']
weights = dict(type='Pretrained', checkpoint='torchvision://resnet50')
model = dict(type='mmprune.Pruned', host={{_base_.model.type}},
             backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))

pruning = dict(
    target='',
    pruner=dict(_delete_=True, type='WeightPruner', allocator=dict(
        type='RateDistortion', ratio=0.6, curves=dict(num_images=256, points=32))),
    restorer=dict(type='MomentRestoration', moments='noise'))

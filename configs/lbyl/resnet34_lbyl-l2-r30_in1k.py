# ResNet-34 with torchvision's weights; the first conv of every block loses `ratio`, residual sums stay whole
_base_ = ['mmpretrain::resnet/resnet34_8xb32_in1k.py', '../_base_/default_pruning.py']
weights = dict(type='Pretrained', checkpoint='torchvision://resnet34')
model = dict(type='mmprune.Pruned', host={{_base_.model.type}},
             backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.3), keep=['conv1', '*.conv2', '*.downsample*']),
    input_shape=(3, 224, 224),
    restorer=dict(type='LBYL', lambda1=5e-4, lambda2=0.03))

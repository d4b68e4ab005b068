# ResNet-101 with torchvision's weights; conv1 and conv2 of every block lose `ratio`, residual sums stay whole
_base_ = ['mmpretrain::resnet/resnet101_8xb32_in1k.py', '../_base_/default_pruning.py']
weights = dict(type='Pretrained', checkpoint='torchvision://resnet101')
model = dict(type='mmprune.Pruned', host={{_base_.model.type}},
             backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.3), keep=['conv1', '*.conv3', '*.downsample*']),
    input_shape=(3, 224, 224),
    restorer=dict(type='LBYL', lambda1=2e-6, lambda2=0.03))

# ResNet-50 as published: torchvision's weights, threshold 0.70 on 100 training images, residual streams too, 50 epochs
_base_ = ['mmpretrain::_base_/models/resnet50.py', 'mmpretrain::_base_/datasets/imagenet_bs32.py',
          'mmpretrain::_base_/default_runtime.py', '../_base_/schedules/redundancy_in1k_50e.py']
weights = dict(type='Pretrained', checkpoint='torchvision://resnet50')
model = dict(type='mmprune.Pruned', host={{_base_.model.type}},
             backbone=dict(init_cfg=weights), head=dict(init_cfg=weights))
train_dataloader = dict(batch_size=256)
val_cfg = dict()
test_cfg = dict()

pruning = dict(
    target='', restorer=None,
    pruner=dict(type='ChannelPruner', criterion=dict(type='RedundancyGraph', threshold=0.7, inputs='real')),
    images='train_dataloader', num_images=100, finetune=True)

# Put this behind any mmdet or mmpretrain base, add the host line and say what to prune:
#   _base_ = ['mmdet::retinanet/retinanet_r50_fpn_1x_coco.py', '../_base_/default_pruning.py']
#   model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
#   load_from = 'checkpoints/….pth'
#   pruning = dict(pruner=dict(allocator=dict(ratio=0.5)))
custom_imports = dict(imports=['mmprune'], allow_failed_imports=False)

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3)),
)

# A detector's backbone as X-Nets of degree 6, trained from scratch on BCCD
_base_ = ['../bccd/retinanet_r18_fpn_bccd.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})

pruning = dict(
    target='backbone', finetune=True, input_shape=(3, 240, 320),
    pruner=dict(type='ExpanderPruner', graph=dict(type='XNet'), degree=6, dense_stem=True))

# Faster R-CNN's backbone on VOC without an image: the threshold that leaves 70 % of its FLOPs, on Gaussian noise
_base_ = ['../_base_/detectors/faster-rcnn_r50_fpn_voc0712.py', '../_base_/default_pruning.py']

pruning = dict(
    pruner=dict(_delete_=True, type='ChannelPruner', keep=['conv1', '*.conv3', '*.downsample*'], round_to=8,
                criterion=dict(type='RedundancyGraph', target=dict(flops=0.7), inputs='noise')),
    restorer=dict(type='MomentRestoration'))

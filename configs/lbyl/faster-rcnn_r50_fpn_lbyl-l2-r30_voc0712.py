# Faster R-CNN's backbone on VOC: inner convs of every block lose 30 %, repaired without an image
_base_ = ['../_base_/detectors/faster-rcnn_r50_fpn_voc0712.py', '../_base_/default_pruning.py']

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.3), keep=['conv1', '*.conv3', '*.downsample*'], round_to=8),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3))

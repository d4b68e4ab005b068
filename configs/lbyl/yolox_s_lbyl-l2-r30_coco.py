# YOLOX-S's backbone on COCO: all but residual sums lose 30 %, repaired without an image
_base_ = ['../_base_/detectors/yolox_s_coco.py', '../_base_/default_pruning.py']

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.3), keep=['*.main_conv.conv'], round_to=8),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3))

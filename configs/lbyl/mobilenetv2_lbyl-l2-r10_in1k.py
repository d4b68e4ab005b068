# MobileNetV2; the expansion conv of every block loses `ratio`, the depthwise conv follows, the projection is repaired
# (no program was published for it: this is our reading of the paper)
_base_ = ['mmpretrain::mobilenet_v2/mobilenet-v2_8xb32_in1k.py', '../_base_/default_pruning.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = ('https://mmassets.onedl.ai/mmclassification/v0/mobilenet_v2/'
             'mobilenet_v2_batch256_imagenet_20200708-3b2dc3af.pth')

pruning = dict(
    pruner=dict(allocator=dict(ratio=0.1), keep=['conv1.*', 'conv2.*', 'layer1.0.*', '*.conv.2.*']),
    input_shape=(3, 224, 224),
    restorer=dict(type='LBYL', lambda1=1e-5, lambda2=2e-3))

# Faster R-CNN, VGG-19 with batch norm (settings of VGG-16)
_base_ = ['faster-rcnn_vgg16-bn_fpn_dfbf-l2-r10_voc0712.py']
model = dict(backbone=dict(depth=19))
load_from = 'checkpoints/faster-rcnn_vgg19-bn_fpn_1x_voc0712.pth'
pruning = dict(pruner=dict(keep=[f'features.{conv}' for conv in (0, 3, 10, 23, 36, 49)]))

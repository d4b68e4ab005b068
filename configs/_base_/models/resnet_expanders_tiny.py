# ResNets of the expanders for Tiny ImageNet: 200 classes, ImageNet's statistics
_base_ = ['resnet_expanders_cifar.py']
model = dict(
    data_preprocessor=dict(
        num_classes=200, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    head=dict(num_classes=200),
)

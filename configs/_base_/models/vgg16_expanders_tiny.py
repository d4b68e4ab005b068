# VGG-16 of the expanders, 200 classes, ImageNet's statistics; it sees 32x32 crops
_base_ = ['vgg16_expanders_cifar.py']
model = dict(
    data_preprocessor=dict(
        num_classes=200, mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    head=dict(num_classes=200),
)

# The dense baseline of the expanders' VGG-16: its convs have a bias
_base_ = ['vgg16_expanders_cifar.py']
model = dict(backbone=dict(bias=True))

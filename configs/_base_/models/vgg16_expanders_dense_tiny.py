# The dense baseline of the expanders' VGG-16 on Tiny ImageNet: its convs have a bias
_base_ = ['vgg16_expanders_tiny.py']
model = dict(backbone=dict(bias=True))

# ResNet-34 on CIFAR-100
_base_ = ['../_base_/models/resnet18_dfbf_cifar.py', '../_base_/dfbf_cifar100.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}}, data_preprocessor=dict(num_classes=100),
             backbone=dict(depth=34), head=dict(num_classes=100))
load_from = 'data/weights/resnet34_cifar100.pt'

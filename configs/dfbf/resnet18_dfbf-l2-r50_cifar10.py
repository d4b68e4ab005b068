# ResNet-18, the first conv of every block; weights of the public CIFAR-10 zoo
_base_ = ['../_base_/models/resnet18_dfbf_cifar.py', '../_base_/dfbf_cifar.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet18_cifar10.pt'

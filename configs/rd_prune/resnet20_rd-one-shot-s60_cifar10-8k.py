# As resnet20_rd-zero-data-s60_cifar10.py, but the curves are measured on training images (no labels)
_base_ = ['resnet20_rd-zero-data-s60_cifar10-8k.py']

pruning = dict(images='train_dataloader', num_images=128)

# DFBF on CIFAR-100: as on CIFAR-10, but the published program neither warms up nor anneals the inversion there
_base_ = ['dfbf_cifar.py']

data_root = 'data/cifar100'
data_preprocessor = dict(num_classes=100)
pruning = dict(images=dict(lr_schedule='constant', l2_norm='image'))
train_dataloader = dict(dataset=dict(type='CIFAR100', data_root=data_root))
val_dataloader = dict(dataset=dict(type='CIFAR100', data_root=data_root))
test_dataloader = dict(dataset=dict(type='CIFAR100', data_root=data_root))

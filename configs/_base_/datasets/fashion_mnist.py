# Fashion-MNIST as published: four .gz files, read in place; one channel, 28x28
data_root = 'data/fashion_mnist'
data_preprocessor = dict(num_classes=10, mean=[127.5], std=[127.5], to_rgb=False)

pipeline = [dict(type='PackInputs')]

train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    dataset=dict(type='mmprune.FashionMNIST', data_root=data_root, split='train', pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=0,
    dataset=dict(type='mmprune.FashionMNIST', data_root=data_root, split='test', pipeline=pipeline, test_mode=True),
    sampler=dict(type='DefaultSampler', shuffle=False),
)
val_evaluator = dict(type='Accuracy', topk=(1,))

test_dataloader = val_dataloader
test_evaluator = val_evaluator

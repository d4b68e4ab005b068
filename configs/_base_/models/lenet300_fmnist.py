# LeNet-300-100 of LBYL and Neuron Merging for Fashion-MNIST
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=10, mean=[127.5], std=[127.5], to_rgb=False),
    backbone=dict(type='mmprune.LeNet300'),
    neck=None,
    head=dict(type='LinearClsHead', num_classes=10, in_channels=100, loss=dict(type='CrossEntropyLoss')),
)

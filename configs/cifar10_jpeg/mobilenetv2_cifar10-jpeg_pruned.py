# Half of the channels of the widened channels of every block gone, repaired without an image
_base_ = ['mobilenetv2_cifar10-jpeg.py']

model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'work_dirs/mobilenetv2_cifar10-jpeg/epoch_3.pth'

pruning = dict(
    target='backbone',
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1.*', '*.conv.2.*', 'layer1.0.conv.1.*']),
    restorer=dict(type='MomentRestoration'),
    input_shape=(3, 48, 48))

# Every fifth image, which keeps the classes equal: three stages are tested, and decoding takes its time on CPUs
val_dataloader = dict(dataset=dict(indices=list(range(0, 10000, 5))))
test_dataloader = dict(dataset=dict(indices=list(range(0, 10000, 5))))

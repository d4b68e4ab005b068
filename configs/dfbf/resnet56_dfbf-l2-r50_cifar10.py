# ResNet-56 of the Neuron Merging authors, the first conv of every block; small enough for two cores
_base_ = ['../_base_/models/resnet56_nm_cifar.py', '../_base_/datasets/cifar10.py',
          '../_base_/default_runtime.py', '../_base_/schedules/dfbf_20e.py']
model = dict(type='mmprune.Pruned', host={{_base_.model.type}})
load_from = 'data/weights/resnet56_nm_cifar10.pth'

pruning = dict(
    target='backbone',
    restorer=None,
    pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5),
                keep=['conv1', '*.conv2', '*.downsample*']),
    images=dict(
        type='DeepInversion', num_images=256, batch_size=256, phases=[dict(iterations=230, jitter=2)], warmup=30),
    distillation=dict(type='FeatureDistillation', bn='train'),
    finetune=True,
    input_shape=(3, 32, 32))
train_dataloader = dict(batch_size=64)

# The three parts of this folder in a config: import their files, name them. Run it from the repository's root with
# PYTHONPATH=. python tools/train.py docs/examples/my_resnet56.py
_base_ = ['../../configs/moment_restoration/resnet56_moment-l2-r50_cifar10.py']
custom_imports = dict(imports=['docs.examples.fan_out', 'docs.examples.ramp', 'docs.examples.mean_shift'])

pruning = dict(
    pruner=dict(criterion='FanOut', allocator=dict(type='Ramp', slope=0.5)), restorer=dict(type='MeanShift')
)

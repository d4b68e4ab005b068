"""Prune any module from Python: no config, no runner, no data."""

import torch
import torchvision

from mmprune import load, prune, save

model = torchvision.models.resnet18(weights=None)  # yours, trained
report = prune(
    model,
    torch.randn(1, 3, 224, 224),
    pruner=dict(
        type='ChannelPruner',
        criterion='L2Norm',
        allocator=dict(type='Uniform', target=dict(flops=0.6)),
        round_to=8,
        keep=['conv1', '*.conv2', '*.downsample*'],
    ),
)
print(report)
save(model, 'pruned.pth')
model = load(torchvision.models.resnet18(weights=None), 'pruned.pth')

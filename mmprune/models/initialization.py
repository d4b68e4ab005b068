"""The initialisation that the published CIFAR networks share, as an mmengine ``init_cfg``."""

KAIMING_CONVS: list[dict] = [
    {'type': 'Kaiming', 'layer': 'Conv2d', 'mode': 'fan_out', 'nonlinearity': 'relu'},
    {'type': 'Constant', 'layer': 'BatchNorm2d', 'val': 1},
]
SMALL_LINEARS: list[dict] = [
    {'type': 'Normal', 'layer': 'Linear', 'std': 0.01},
    {'type': 'Constant', 'layer': 'BatchNorm1d', 'val': 1},
]

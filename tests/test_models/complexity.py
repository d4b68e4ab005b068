"""Literal counters, to compare the networks with the numbers of their publications."""

import torch
from torch import Tensor, nn


def parameters(model: nn.Module) -> int:
    """All trainable values."""
    return sum(value.numel() for value in model.parameters())


def prunable(model: nn.Module) -> tuple[int, int]:
    """Weight tensors of convs and linear layers, and the values in them."""
    weights = [module.weight for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return len(weights), sum(weight.numel() for weight in weights)


def mega_macs(model: nn.Module, shape: tuple[int, ...] = (3, 32, 32)) -> float:
    """Multiply-adds of convs and linear layers for one image, in millions."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        positions = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        total += module.weight.numel() * positions

    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    device = next(model.parameters()).device
    with torch.no_grad():
        model(torch.zeros(1, *shape, device=device))
    for handle in handles:
        handle.remove()
    return total / 1e6

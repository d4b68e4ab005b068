"""Masks on weights: zero where pruned, at every step and in every checkpoint, under the weight's own name."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mmprune.surgery.slicing import FROZEN, MASK, MASKS


def attach_mask(module: nn.Module, mask: Tensor) -> None:
    """Zero ``module.weight`` outside ``mask`` (bool, the weight's shape) and keep it so through training.

    The gradient outside the mask is zeroed, so optimisers have nothing to act on; the weight is multiplied once more
    before each forward and in each state dict (PyTorch's or mmengine's), in case something else (old momentum) wrote
    to it. The mask is a buffer ``weight_mask`` and travels in the state dict; the weight keeps its name and is
    already zero there.
    """
    _register(module, MASK, mask)
    apply_mask(module)


def freeze_outside(module: nn.Module, mask: Tensor) -> None:
    """Let ``module.weight`` learn only inside ``mask``; what is outside stays as it is and only decays.

    Nothing becomes zero: the weights outside take part in every forward. The mask is a buffer ``weight_trained_mask``.
    """
    _register(module, FROZEN, mask)


def _register(module: nn.Module, name: str, mask: Tensor) -> None:
    weight = module.get_parameter('weight')
    mask = mask.to(device=weight.device, dtype=torch.bool)
    if mask.shape != weight.shape:
        raise ValueError(f'a mask of shape {tuple(mask.shape)} does not fit a weight of {tuple(weight.shape)}')
    if name in module._buffers:
        module._buffers[name] = mask
        return
    module.register_buffer(name, mask)
    if '_mmprune_mask_hooks' not in module.__dict__:
        module.__dict__['_mmprune_mask_hooks'] = [
            module.register_forward_pre_hook(_before_forward),
            module._register_state_dict_hook(_in_state_dict),
        ]


def apply_mask(module: nn.Module) -> None:
    """Zero a masked module's weight outside its mask, without autograd noticing."""
    # through .data: a layer that runs twice in one forward must not see its weight "modified in place" by a no-op
    mask = module._buffers.get(MASK)
    if mask is not None:
        module.get_parameter('weight').data.mul_(mask)


def _before_forward(module: nn.Module, args: tuple) -> None:
    apply_mask(module)
    _hook_gradient(module)


def _in_state_dict(module: nn.Module, state: dict, prefix: str, local_metadata: dict) -> None:
    """Behind the collection of tensors, which share the weight's storage: mmengine calls no hooks before it."""
    apply_mask(module)


class _MaskGradient:
    """Gradient hook of a masked weight."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, gradient: Tensor) -> Tensor:
        for name in MASKS:
            mask = self.module._buffers.get(name)
            gradient = gradient if mask is None else gradient * mask
        return gradient


def _hook_gradient(module: nn.Module) -> None:
    """Once per Parameter object: copies of a model have new ones, and frozen ones take no hook until they are not."""
    weight = module.get_parameter('weight')
    hooks = (weight._backward_hooks or {}).values()
    if weight.requires_grad and not any(isinstance(hook, _MaskGradient) for hook in hooks):
        weight.register_hook(_MaskGradient(module))


def remove_masks(model: nn.Module) -> nn.Module:
    """Make masks permanent: weights stay as they are used, buffers and hooks go (for export)."""
    for module in model.modules():
        apply_mask(module)
        for hook in module.__dict__.pop('_mmprune_mask_hooks', ()):
            hook.remove()
        for name in MASKS:
            module._buffers.pop(name, None)
            module._non_persistent_buffers_set.discard(name)
    return model


def masks(model: nn.Module) -> dict[str, Tensor]:
    """Mask of every masked module by its name."""
    return {name: module._buffers[MASK] for name, module in model.named_modules() if MASK in module._buffers}


def trained_masks(model: nn.Module) -> dict[str, Tensor]:
    """Mask of the trained weights of every module that :func:`freeze_outside` froze, by its name."""
    return {name: module._buffers[FROZEN] for name, module in model.named_modules() if FROZEN in module._buffers}

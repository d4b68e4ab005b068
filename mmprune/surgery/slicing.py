"""Taking channels out of layers, in place, without replacing a single ``Parameter`` object.

Optimisers, ``paramwise_cfg`` and hooks hold on to parameters; assigning ``.data`` keeps all of that valid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

MASK = 'weight_mask'
FROZEN = 'weight_trained_mask'
#: Buffers with the shape of a layer's weight, which are cut with it.
MASKS = (MASK, FROZEN)


@dataclass
class Undo:
    """Record of a surgery, by which it can be taken back. Old tensors are referenced, not copied."""

    tensors: list[tuple[nn.Module, str, Tensor]] = field(default_factory=list)
    attributes: list[tuple[nn.Module, str, object]] = field(default_factory=list)

    def take_back(self) -> None:
        """Restore every tensor and attribute, newest first."""
        for module, name, tensor in reversed(self.tensors):
            _assign(module, name, tensor)
        for module, name, value in reversed(self.attributes):
            setattr(module, name, value)


def _assign(module: nn.Module, name: str, tensor: Tensor) -> None:
    parameter = module._parameters.get(name)
    if parameter is None:
        module._buffers[name] = tensor
    else:
        parameter.grad = None
        if parameter.shape != tensor.shape:
            # Autograd remembers a parameter's shape as long as any graph lives; a change of dtype makes it forget.
            parameter.data = tensor.new_empty(0, dtype=torch.half if tensor.dtype == torch.float else torch.float)
        parameter.data = tensor


def _select(module: nn.Module, name: str, axis: int, keep: Tensor, undo: Undo) -> None:
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        return
    undo.tensors.append((module, name, tensor.data))
    _assign(module, name, tensor.data.index_select(axis, keep.to(tensor.device)).contiguous())


def _set(module: nn.Module, undo: Undo, **attributes: object) -> None:
    for name, value in attributes.items():
        undo.attributes.append((module, name, getattr(module, name)))
        setattr(module, name, value)


def tells_width(module: nn.Module) -> bool:
    """True for modules without weights that say how many channels pass, as mmdet's RoI extractors do."""
    return (
        hasattr(module, 'roi_layers')
        and isinstance(getattr(module, 'out_channels', None), int)
        and next(module.parameters(), None) is None
    )


def keep_outputs(module: nn.Module, keep: Tensor, undo: Undo) -> None:
    """Leave only the output channels ``keep`` (sorted) of a conv, linear layer, batch norm or PReLU.

    A depthwise conv loses the same inputs with them; what only tells its width is told the new one.
    """
    count = len(keep)
    if tells_width(module):
        _set(module, undo, out_channels=count)
        return
    if isinstance(module, _BatchNorm):
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            _select(module, name, 0, keep, undo)
        _set(module, undo, num_features=count)
        return
    if isinstance(module, nn.PReLU):
        _select(module, 'weight', 0, keep, undo)
        _set(module, undo, num_parameters=count)
        return
    transposed = getattr(module, 'transposed', False)
    depthwise = isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels == module.out_channels
    for name in ('weight', *MASKS):
        _select(module, name, 1 if transposed and not depthwise else 0, keep, undo)
    _select(module, 'bias', 0, keep, undo)
    if isinstance(module, nn.Linear):
        _set(module, undo, out_features=count)
    elif depthwise:
        _set(module, undo, out_channels=count, in_channels=count, groups=count)
    else:
        _set(module, undo, out_channels=count)


def keep_inputs(module: nn.Module, keep: Tensor, undo: Undo) -> None:
    """Leave only the input channels ``keep`` (sorted) of a conv or linear layer.

    For a grouped conv ``keep`` holds the same positions in every group.
    """
    count = len(keep)
    if isinstance(module, nn.Linear):
        for name in ('weight', *MASKS):
            _select(module, name, 1, keep, undo)
        _set(module, undo, in_features=count)
        return
    if not isinstance(module, _ConvNd):
        raise TypeError(f'a {type(module).__name__} has no input channels to cut')
    axis, index = (0 if module.transposed else 1), keep
    if module.groups > 1:
        size = module.in_channels // module.groups
        index = keep[keep < size]
        if not torch.equal(torch.cat([index + g * size for g in range(module.groups)]), keep):
            raise ValueError(f'a conv with groups={module.groups} must lose the same positions in every group')
    for name in ('weight', *MASKS):
        _select(module, name, axis, index, undo)
    _set(module, undo, in_channels=count)


def sync_wrappers(model: nn.Module, undo: Undo) -> None:
    """Make mmcv's ``ConvModule``-like wrappers, which copy a conv's widths, say what their conv says."""
    for module in model.modules():
        conv = module._modules.get('conv')
        if not isinstance(conv, _ConvNd) or isinstance(module, _ConvNd):
            continue
        for name in ('in_channels', 'out_channels', 'groups'):
            if (
                isinstance(getattr(module, name, None), int)
                and hasattr(module, 'norm_cfg')
                and getattr(module, name) != getattr(conv, name)
            ):
                _set(module, undo, **{name: getattr(conv, name)})


def complement(channels: Tensor, width: int) -> Tensor:
    """The other channels of ``range(width)``, sorted: from those that stay to those that go, and back."""
    mask = torch.ones(width, dtype=torch.bool, device=channels.device)
    mask[channels] = False
    return torch.nonzero(mask)[:, 0]


def widths(module: nn.Module) -> tuple[int, int]:
    """(outputs, inputs) of a layer that :func:`keep_outputs` or :func:`keep_inputs` can cut."""
    if isinstance(module, nn.Linear):
        return module.out_features, module.in_features
    if isinstance(module, _ConvNd):
        return module.out_channels, module.in_channels
    if isinstance(module, _BatchNorm):
        return module.num_features, module.num_features
    count: Any = module.num_parameters if isinstance(module, nn.PReLU) else module.out_channels
    return count, count


def slice_channels(model: nn.Module, outputs: Mapping[nn.Module, Tensor], inputs: Mapping[nn.Module, Tensor]) -> Undo:
    """Remove output and input channels of many modules, in place; all of them or, if one fails, none.

    Args:
        model: Owns the modules; wrappers in it that copy a conv's widths are told the new ones.
        outputs: Removed output channels of modules, sorted.
        inputs: Removed input channels of modules, sorted.

    Returns:
        What takes it back.
    """
    undo = Undo()
    try:
        for module, removed in inputs.items():
            if len(removed):
                keep_inputs(module, complement(removed, widths(module)[1]), undo)
        for module, removed in outputs.items():
            if len(removed):
                keep_outputs(module, complement(removed, widths(module)[0]), undo)
        sync_wrappers(model, undo)
    except Exception:
        undo.take_back()
        raise
    return undo

"""Taking channels out of layers, in place; the ``Parameter`` objects stay the same once a cut is final."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mmprune.surgery.noted_widths import stale_widths
from mmprune.surgery.plain import computed_by

MASK = 'weight_mask'
FROZEN = 'weight_trained_mask'
#: Buffers with the shape of a layer's weight, which are cut with it.
MASKS = (MASK, FROZEN)


@dataclass
class _Saved:
    """A module as it was before a surgery; tensors are referenced, not copied."""

    attributes: dict[str, Any]
    parameters: dict[str, nn.Parameter | None]
    buffers: dict[str, Tensor | None]
    passing: set[str]


class Undo:
    """Record of a surgery, by which it can be taken back or made final.

    While it is open, cut modules hold parameters that stand in for their own. Those are out of reach: neither their
    values nor gradients, hooks and accumulators can change, so that taking back brings the very state before.
    """

    def __init__(self) -> None:
        """Start with nothing cut."""
        self._saved: dict[nn.Module, _Saved] = {}
        self._final: list[tuple[nn.Parameter, Tensor, Tensor | None]] = []

    def touch(self, module: nn.Module) -> None:
        """Remember a module before it is changed the first time."""
        if module not in self._saved:
            self._saved[module] = _Saved(
                dict(module.__dict__),
                dict(module._parameters),
                dict(module._buffers),
                set(module._non_persistent_buffers_set),
            )

    def before(self) -> dict[nn.Module, dict[str, Any]]:
        """The attributes of every touched module, as they were."""
        return {module: saved.attributes for module, saved in self._saved.items()}

    def take_back(self) -> None:
        """Bring every touched module back to the state before: the same objects, in the same order."""
        for parameter, data, gradient in reversed(self._final):
            _assign(parameter, data)
            parameter.grad = gradient
        self._final = []
        for module, saved in self._saved.items():
            module.__dict__.clear()
            module.__dict__.update(saved.attributes)
            module._parameters.clear()
            module._parameters.update(saved.parameters)
            module._buffers.clear()
            module._buffers.update(saved.buffers)
            module._non_persistent_buffers_set.clear()
            module._non_persistent_buffers_set.update(saved.passing)

    def make_final(self) -> None:
        """Give the modules their own parameters again, with what is left of them; gradients are dropped.

        Optimisers, ``paramwise_cfg`` and hooks hold on to parameters; assigning ``.data`` keeps all of that valid.
        """
        for module, saved in self._saved.items():
            for name, own in saved.parameters.items():
                substitute = module._parameters.get(name)
                if own is None or substitute is None or substitute is own:
                    continue
                self._final.append((own, own.data, own.grad))
                own.grad = None
                _assign(own, substitute.data)
                module._parameters[name] = own


def _assign(parameter: nn.Parameter, data: Tensor) -> None:
    parameter.grad = None
    if parameter.shape != data.shape:
        # Autograd remembers a parameter's shape as long as any graph lives; a change of dtype makes it forget.
        parameter.data = data.new_empty(0, dtype=torch.half if data.dtype == torch.float else torch.float)
    parameter.data = data


def _select(module: nn.Module, name: str, axis: int, keep: Tensor, undo: Undo) -> None:
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        return
    undo.touch(module)
    left = tensor.detach().index_select(axis, keep.to(tensor.device)).contiguous()
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(left, requires_grad=tensor.requires_grad)
    elif name in module._buffers:
        module._buffers[name] = left
    else:
        raise ValueError(
            f'the {name} of a {type(module).__name__} is no tensor of its own ({computed_by(module, name)})'
        )


def _set(module: nn.Module, undo: Undo, **attributes: Any) -> None:
    undo.touch(module)
    for name, value in attributes.items():
        setattr(module, name, value)


def tells_width(module: nn.Module) -> bool:
    """True for modules without weights that say how many channels pass, as mmdet's RoI extractors do."""
    return (
        hasattr(module, 'roi_layers')
        and isinstance(getattr(module, 'out_channels', None), int)
        and next(module.parameters(), None) is None
    )


def is_channel_norm(module: nn.Module) -> bool:
    """A norm that treats every channel by itself: batch and instance norms, group norms of groups of one, frozen ones.

    Frozen norms of torchvision, detectron2 and the like are told by what they hold: scale, shift and statistics.
    """
    if isinstance(module, nn.GroupNorm):
        return module.num_groups == module.num_channels
    if isinstance(module, _NormBase):
        return True
    held = [getattr(module, name, None) for name in ('weight', 'bias', 'running_mean', 'running_var')]
    sizes = {tuple(tensor.shape) if isinstance(tensor, Tensor) else () for tensor in held}
    return not module._modules and len(sizes) == 1 and len(sizes.pop()) == 1


def norm_width(norm: nn.Module) -> int:
    """Channels of a norm that :func:`is_channel_norm` knows."""
    if isinstance(norm, nn.GroupNorm):
        return norm.num_channels
    return norm.num_features if isinstance(norm, _NormBase) else len(norm.get_buffer('running_mean'))


def keep_outputs(module: nn.Module, keep: Tensor, undo: Undo) -> None:
    """Leave only the output channels ``keep`` (sorted) of a conv, linear layer, batch norm or PReLU.

    A depthwise conv loses the same inputs with them; what only tells its width is told the new one.
    """
    count = len(keep)
    if tells_width(module):
        _set(module, undo, out_channels=count)
        return
    if is_channel_norm(module):
        for name in ('weight', 'bias', 'running_mean', 'running_var'):
            _select(module, name, 0, keep, undo)
        told = ('num_channels', 'num_groups') if isinstance(module, nn.GroupNorm) else ('num_features',)
        _set(module, undo, **{name: count for name in told if hasattr(module, name)})
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


def sync_noted_widths(model: nn.Module, undo: Undo) -> None:
    """Make modules that note their layers' widths, as mmcv's ``ConvModule`` does, say what these have after a cut."""
    for module, name, value in list(stale_widths(model, undo.before())):
        _set(module, undo, **{name: value})


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
    if is_channel_norm(module):
        count = norm_width(module)
        return count, count
    count = module.num_parameters if isinstance(module, nn.PReLU) else module.out_channels  # type: ignore[assignment]
    return count, count


def slice_channels(model: nn.Module, outputs: Mapping[nn.Module, Tensor], inputs: Mapping[nn.Module, Tensor]) -> Undo:
    """Remove output and input channels of many modules, in place; all of them or, if one fails, none.

    The cut is open: whoever wants it for good makes it final.

    Args:
        model: Owns the modules; wrappers in it that copy a conv's widths are told the new ones.
        outputs: Removed output channels of modules, sorted.
        inputs: Removed input channels of modules, sorted.

    Returns:
        What takes it back, or makes it final.
    """
    undo = Undo()
    try:
        for module, removed in inputs.items():
            if len(removed):
                keep_inputs(module, complement(removed, widths(module)[1]), undo)
        for module, removed in outputs.items():
            if len(removed):
                keep_outputs(module, complement(removed, widths(module)[0]), undo)
        sync_noted_widths(model, undo)
    except BaseException:  # Ctrl-C, too
        undo.take_back()
        raise
    return undo

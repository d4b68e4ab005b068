"""Optimisers and averages that were there before a network was cut, made to go on with it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from mmengine.model import BaseAveragedModel
from torch import Tensor, nn
from torch.optim import Optimizer

from mmprune.checkpoint.record import set_structure, structure_of
from mmprune.errors import ConfigError
from mmprune.surgery.masking import apply_mask, masks
from mmprune.surgery.structure import KeptChannels, Structure, widths_of


def mend(
    model: nn.Module, optimizer: Any | Iterable[Any] = (), averages: nn.Module | Iterable[nn.Module] = ()
) -> None:
    """Make optimisers and averages of the weights, which are older than the cut, fit a pruned network.

    Optimisers go on with the same parameters and options; they forget momentum and the like of tensors that were cut.
    Averages become copies of the network as it is, and begin anew: what they averaged was not repaired.

    Args:
        model: Pruned; not wrapped in DistributedDataParallel, which has to be made again.
        optimizer: One or several of its optimisers, or mmengine's wrappers around them.
        averages: ``torch.optim.swa_utils.AveragedModel``, mmengine's averages, or plain deep copies of the network
            from before; one or several.

    Raises:
        ConfigError: An optimiser is of a kind that has to be made again.
        StructureError: An average is of another network.

    Example:
        >>> mmprune.prune(model, images, pruner=pruner)
        >>> mmprune.mend(model, optimizer=optimizer, averages=ema)
    """
    for one in optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]:
        forget_stale_state(model, getattr(one, 'optimizer', one))
    for average in [averages] if isinstance(averages, nn.Module) else averages:
        _restart(average, model)


def forget_stale_state(model: nn.Module, optimizer: Optimizer | None) -> None:
    """Drop optimiser state (momentum) of parameters that changed their shape, and zero it where weights are masked."""
    if isinstance(optimizer, torch.optim.LBFGS):
        raise ConfigError('optimizer: LBFGS keeps one history of all parameters in a row; make it anew after a cut')
    state = getattr(optimizer, 'state', {})
    for parameter, entries in state.items():
        if any(isinstance(v, Tensor) and v.dim() and v.shape != parameter.shape for v in entries.values()):
            entries.clear()
            entries.update(_first_state(optimizer, parameter))
    for name, mask in masks(model).items():
        module = model.get_submodule(name)
        apply_mask(module)
        for value in state.get(module.weight, {}).values():
            if isinstance(value, Tensor) and value.shape == mask.shape:
                value.mul_(mask)


def _first_state(optimizer: Optimizer, parameter: Tensor) -> dict[str, Any]:
    """State that an optimiser of this kind makes when it is made, as Adagrad does."""
    options = next(group for group in optimizer.param_groups if any(parameter is member for member in group['params']))
    try:
        fresh = type(optimizer)([parameter], **{key: options[key] for key in optimizer.defaults})
    except (TypeError, ValueError, KeyError):  # made in another way; then nothing is known
        return {}
    return dict(fresh.state.get(parameter, {}))


def _restart(average: nn.Module, model: nn.Module) -> None:
    copy = average
    while copy is not model and set(copy._modules) == {'module'}:
        for count in copy.buffers(recurse=False):
            count.zero_()
        copy = copy.get_submodule('module')
    cut_alike(copy, model)
    copy.load_state_dict(model.state_dict())
    if isinstance(average, BaseAveragedModel):
        reconnect(average)


def reconnect(average: BaseAveragedModel) -> None:
    """After its copy was cut, let an average change its new tensors and not those of the old widths."""
    copy = average.module
    average.avg_parameters = copy.state_dict() if average.update_buffers else dict(copy.named_parameters())


def cut_alike(copy: nn.Module, model: nn.Module) -> None:
    """Cut an earlier copy of a network down to the channels that the network has kept.

    Args:
        copy: Dense, or cut in earlier steps.
        model: The network; it is left alone.

    Raises:
        StructureError: The copy is of another network.
    """
    now, then = structure_of(model) or Structure(), structure_of(copy) or Structure()
    layers, rest = dict(copy.named_modules()), {}
    for name, kept in now.modules.items():
        have = widths_of(layers[name]) if name in layers else None
        earlier = then.modules.get(name) or KeptChannels(kept.dense)
        sides = ((earlier.outputs, kept.outputs), (earlier.inputs, kept.inputs))
        rest[name] = KeptChannels(have or kept.dense, *(_positions(old, new) for old, new in sides))
    Structure(rest).apply(copy)
    set_structure(copy, now)


def _positions(old: Tensor | None, new: Tensor | None) -> Tensor | None:
    return new if old is None or new is None else torch.searchsorted(old, new)

"""Plain layers: weights that are parameters of their own, and the reasons against cutting any others."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.prune import BasePruningMethod

#: Tensors that a cut or a repair writes.
WRITTEN = ('weight', 'bias', 'running_mean', 'running_var')


class PlainLayers:
    """Knows which layers of a network hold plain parameters: computed from nothing, shared with nobody.

    Only such tensors can be cut or written. A weight that is computed anew at every pass (weight_norm, masks of
    ``torch.nn.utils.prune``, any parametrization) loses what is written to it, and a tensor that two modules share
    would be cut for both.
    """

    def __init__(self, model: nn.Module) -> None:
        """Look at all tensors of a network.

        Args:
            model: Everything that may share tensors with the layers asked for.
        """
        self._owners: dict[int, list[str]] = {}
        self._spans: dict[tuple[str, int], list[tuple[int, int, int, str]]] = {}
        for name, tensor in _tensors(model):
            self._owners.setdefault(id(tensor), []).append(name)
            if span := _span(tensor):
                self._spans.setdefault((str(tensor.device), span[0]), []).append((*span[1:], id(tensor), name))
        self._names = {module: name for name, module in model.named_modules()}

    def obstacle(self, module: nn.Module, keys: Sequence[str] = WRITTEN) -> str:
        """The reason why a layer's tensors cannot be cut or written; empty for plain layers.

        Args:
            module: A layer, norm or PReLU of the network.
            keys: The tensors that it is about.
        """
        name = self._names.get(module, type(module).__name__)
        for key in keys:
            if key in ('weight', 'bias') and (how := computed_by(module, key)):
                return f"{name}'s {key} is computed from other tensors ({how})"
            tensor = getattr(module, key, None)
            if isinstance(tensor, Tensor) and (problem := self._problem(tensor)):
                return f"{name}'s {key} {problem}"
        return ''

    def _problem(self, tensor: Tensor) -> str:
        kind = type(tensor.data)
        if kind is not Tensor or not tensor.is_floating_point():
            return f'is no tensor of real numbers ({kind.__name__}, {tensor.dtype})'
        others = self._owners.get(id(tensor), [])
        if len(others) > 1:
            return f'is shared ({others[0]} and {others[1]} are one tensor)'
        if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape)):
            return 'is expanded (many of its elements are one number)'
        span = _span(tensor)
        if span is None:
            return ''
        for start, end, key, other in self._spans.get((str(tensor.device), span[0]), ()):
            if key != id(tensor) and start < span[2] and span[1] < end:
                return f'is a view (it shares memory with {other})'
        return ''


def computed_by(module: nn.Module, key: str = 'weight') -> str:
    """Name of the maker of a ``weight`` or ``bias`` that is computed at every pass; empty if there is none."""
    parametrizations = module._modules.get('parametrizations')
    if isinstance(parametrizations, nn.ModuleDict) and key in parametrizations:
        return ', '.join(_spoken(type(part).__name__) for part in parametrizations[key].children())
    for hook in module._forward_pre_hooks.values():
        owner = getattr(hook, '__self__', hook)
        if getattr(owner, '_tensor_name', None) == key and isinstance(owner, BasePruningMethod):
            return 'torch.nn.utils.prune'
        if getattr(owner, 'name', None) == key:
            return _spoken(type(owner).__name__)
    if key in module._parameters:
        return ''
    if key in module._buffers:
        # a norm's scale may be a buffer (frozen norms); a layer's is not ours to understand
        return '' if not isinstance(module, (_ConvNd, nn.Linear)) else 'a buffer, no parameter'
    value = module.__dict__.get(key, getattr(type(module), key, None))
    if value is None:
        return ''
    return 'an attribute, no parameter' if isinstance(value, Tensor) else 'a property of its class'


def _spoken(name: str) -> str:
    """``WeightNorm`` and ``_WeightNorm`` → weight_norm, as torch's functions are called."""
    return re.sub(r'(?<=[a-z])(?=[A-Z])', '_', name.lstrip('_')).lower()


def _tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that a module registers, under each of its names."""
    for name, module in model.named_modules():
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                yield f'{name}.{key}'.lstrip('.'), tensor


def _span(tensor: Tensor) -> tuple[int, int, int] | None:
    """Start of a tensor's storage, and its first and last-plus-one byte therein; None where it has no memory."""
    try:
        storage = tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):
        return None
    if not storage or not tensor.numel():
        return None
    last = sum(int(stride) * (int(size) - 1) for stride, size in zip(tensor.stride(), tensor.shape))
    start = int(tensor.storage_offset()) * tensor.element_size()
    return storage, start, start + (last + 1) * tensor.element_size()


def _results(model: nn.Module) -> list[tuple[nn.Module, str, Tensor]]:
    """Tensors that hooks leave as attributes of modules: weights computed in the old way, of the latest pass."""
    return [
        (module, key, value)
        for module in (model.modules() if isinstance(model, nn.Module) else ())
        if module._forward_pre_hooks
        for key, value in vars(module).items()
        if isinstance(value, Tensor)
    ]


@contextmanager
def results_held(model: nn.Module) -> Iterator[None]:
    """Weights that hooks compute at every pass are, after the context, the very tensors that they were before."""
    before = _results(model)
    try:
        yield
    finally:
        for module, key, value in before:
            vars(module)[key] = value


def copy_of(model: nn.Module) -> nn.Module:
    """A deep copy, also of networks with weights that hooks have computed with gradients: these cannot be copied."""
    with results_held(model):
        for module, key, value in _results(model):
            vars(module)[key] = value.detach()
        return copy.deepcopy(model)

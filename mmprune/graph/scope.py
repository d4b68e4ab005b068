"""Hosts and their forward passes: which call of a model gives plain tensors for images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import count

import torch
from mmengine.model import BaseModel
from torch import Tensor, nn

from mmprune.errors import ConfigError
from mmprune.graph.heads import HeadError, check_heads, forward_with_heads, heads_of
from mmprune.graph.program import Call, example_like, refuse_unworkable, unwrap
from mmprune.graph.randomness import same_numbers
from mmprune.graph.tracing import Example, Forward, flatten_tensors, is_finite, map_tensors, tracing_mode, watching


def pixel_statistics(model: nn.Module) -> tuple[list[float], list[float]] | None:
    """Mean and standard deviation of every channel, by which the model's preprocessor normalises pixels of 0 … 255."""
    preprocessor = getattr(unwrap(model), 'data_preprocessor', None)
    pair = getattr(preprocessor, 'mean', None), getattr(preprocessor, 'std', None)
    if not all(isinstance(item, Tensor) for item in pair):
        return None
    return tuple([round(float(value), 6) for value in item.flatten()] for item in pair)


def is_detector(model: nn.Module) -> bool:
    """A model of mmdet's kind, whose heads want boxes."""
    return (
        isinstance(model, BaseModel)
        and hasattr(model, 'extract_feat')
        and not (hasattr(model, 'head') and not hasattr(model, 'bbox_head'))
    )


def tensor_forward(model: nn.Module, targets: Sequence[str] = ('',)) -> Forward:
    """The call that runs as much of a model as it takes to see the targets.

    mmpretrain's classifiers run whole (``mode='tensor'``); mmdet's detectors run backbone and neck (``extract_feat``),
    and their heads only if a target lies in one: they want boxes. Any other module is simply called, see
    :class:`~mmprune.graph.program.Call`.
    """
    if is_detector(model):
        in_head = any(target.split('.')[0] in heads_of(model) for target in targets)
        return forward_with_heads(model) if in_head else model.extract_feat
    if isinstance(model, BaseModel) and hasattr(model, 'extract_feat'):
        return lambda images: model(images, mode='tensor')
    return Call(model)


@dataclass
class Scope:
    """The part of a model that is looked at, and how to run it.

    Attributes:
        model: The whole network (not wrapped).
        example: One batch of input for ``forward``; a tensor of shape (N, C, H, W) for mm models.
        targets: Module paths inside which something may be removed; '' is everything.
        forward: Runs what can be traced.
        unseen: Why the heads of a detector are not part of it; empty if they are, or need not be.
    """

    model: nn.Module
    example: Example
    targets: tuple[str, ...] = ('',)
    forward: Forward = field(default=None)
    unseen: str = ''
    _probe: Example | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names = dict(self.model.named_modules())
        for target in self.targets:
            if target not in names:
                children = ', '.join(name for name, _ in self.model.named_children())
                raise ConfigError(f'target: this model has no module {target!r}; it has {children}')
        if self.forward is None:
            self.forward = tensor_forward(self.model, self.targets)
            if is_detector(self.model) and self.forward != self.model.extract_feat:
                self._check_heads()

    @classmethod
    def of(cls, model: nn.Module, example: Example, target: str | Sequence[str] = '') -> Scope:
        """A scope from what users write: ``target`` is one module path or several."""
        targets = (target,) if isinstance(target, str) else tuple(target)
        model = unwrap(model)
        refuse_unworkable(model)
        return cls(model, example_like(example, model), targets)

    def with_heads(self) -> Scope:
        """The scope with a detector's heads in its forward, so that what they read may change with them.

        Where they cannot be run, backbone and neck alone, and the reason as ``unseen``.
        """
        if not is_detector(self.model) or self.forward != self.model.extract_feat:
            return self
        wider = replace(self, forward=forward_with_heads(self.model))
        try:
            wider._check_heads()
        except ConfigError as error:
            return replace(self, unseen=str(error).removeprefix('target: '))
        return wider

    def _check_heads(self) -> None:
        with tracing_mode(self.model):
            try:
                check_heads(self.model, self.probe_input())
            except HeadError as error:
                raise ConfigError(f'target: {error}') from error

    def left_out(self) -> list[str]:
        """Children of a host that its ``forward`` here leaves out, and that see nothing but what that returns."""
        if not isinstance(self.model, BaseModel):
            return []
        inside = {target.split('.')[0] for target in self.targets}
        heads = heads_of(self.model) if is_detector(self.model) and self.forward == self.model.extract_feat else []
        return [
            name for name, _ in self.model.named_children() if name in heads or not ('' in inside or name in inside)
        ]

    def probe_input(self) -> Example:
        """The example with noise in place of constant images, which would hide mistakes.

        Values that vary stay what they are: they may mean something (boxes, times, masks). Of several constants those
        are replaced with which the network still runs in the same way.

        Raises:
            ConfigError: The network does not run on its example.
        """
        if self._probe is None:
            self._probe = self._find_probe()
        return self._probe

    def _find_probe(self) -> Example:
        generator = torch.Generator().manual_seed(0)
        tensors = flatten_tensors(self.example)
        noise = [torch.randn(x.shape, generator=generator, device='cpu', dtype=torch.float32).to(x) for x in tensors]
        constant = [n for n, x in enumerate(tensors) if x.is_floating_point() and x.dim() > 1 and _is_constant(x)]
        if isinstance(self.model, BaseModel):
            return _with_tensors(self.example, {n: noise[n] for n in constant})
        chosen: dict[int, Tensor] = {}
        with tracing_mode(self.model), torch.no_grad(), same_numbers():
            try:
                wanted = _behaviour(self.model, self.forward, self.example)
            except Exception as error:  # whatever a network raises
                told = (str(error).strip().splitlines() or [''])[0]
                raise ConfigError(
                    'example_input: the network does not run on it as '
                    f'{_reading(self.example)} ({type(error).__name__}: {told:.200})'
                ) from error
            for n in constant:
                trial = {**chosen, n: noise[n]}
                with suppress(Exception):
                    if _behaviour(self.model, self.forward, _with_tensors(self.example, trial)) == wanted:
                        chosen = trial
        return _with_tensors(self.example, chosen)


def _is_constant(x: Tensor) -> bool:
    return x.numel() > 1 and bool((x == x.flatten()[0]).all())


def _with_tensors(example: Example, other: Mapping[int, Tensor]) -> Example:
    """An example in which the tensors with these numbers are others."""
    number = count()
    return map_tensors(lambda x: other.get(next(number), x), example)


def _reading(example: Example) -> str:
    if isinstance(example, dict):
        return 'keyword arguments; a dict that is one argument is written as (dict,)'
    if isinstance(example, tuple):
        return 'positional arguments; a tuple that is one argument is written as (tuple,)'
    return 'its one argument; several are written as a tuple or, by name, as a dict'


def _behaviour(model: nn.Module, forward: Forward, example: Example) -> tuple[list, list, bool]:
    """The modules that run on an example, the shapes of what comes out, and if all is numbers as far as layers go.

    What a layer with weights makes of numbers counts as numbers: if it overflows, that is the network's own fault.
    """
    calls: list[nn.Module] = []
    overflows: list[nn.Module] = []

    def note(module: nn.Module, args: object, output: object) -> None:
        calls.append(module)
        if next(module.parameters(recurse=False), None) is not None and not is_finite(output) and is_finite(args):
            overflows.append(module)

    with watching(model.modules(), note):
        outputs = flatten_tensors(forward(example))
    return calls, [out.shape for out in outputs], bool(overflows) or is_finite(outputs)

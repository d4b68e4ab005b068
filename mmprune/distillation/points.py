"""Supervision points, where student and teacher are compared: outputs that pruning left whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn.modules.conv import _ConvNd

from mmprune.distillation.part import Part
from mmprune.errors import ConfigError
from mmprune.graph.chain import ACTIVATIONS, POOLS
from mmprune.graph.patterns import matches
from mmprune.graph.tracing import real_maps, tracing_mode, watching
from mmprune.surgery.slicing import MASK, widths

#: Autograd operations behind a layer that still belong to its output: norms, additions, scales, activations.
PASSED = (*ACTIVATIONS, 'add', 'sub', 'mul', 'div', 'prelu', 'clone', 'nativedropout', 'permute', 'transpose')
NORMS = ('batchnorm', 'groupnorm', 'layernorm', 'instancenorm')
#: Operations between the last layer and the network's output that compute nothing of their own.
PEELED = (*POOLS, 'view', 'reshape', 'unsafeview', 'squeeze')


@dataclass(frozen=True)
class Point:
    """A module whose output is compared.

    Attributes:
        name: Its path in the model; '' is the model.
        every: Whether all tensors that it returns count (their mean), or only the last one.
    """

    name: str
    every: bool = False


def find_points(
    student: Part,
    teacher: Part,
    example: Tensor,
    points: str | Sequence[str] = 'auto',
    which: str = 'all',
    include_untouched: bool = False,
) -> list[Point]:
    """The supervision points, in forward order.

    A layer that reads pruned channels and whose own outputs are whole is followed through norm, addition and
    activation to the last tensor before something else computes or the network forks; the outermost module that
    returns this tensor, and runs once, is the point. For ResNets that is every block's output (behind addition and
    ReLU), for VGGs the ReLU of every unpruned conv behind a pruned one. The last point is the part's output.

    Args:
        student: The pruned network.
        teacher: The dense one; layers are compared with it to see what was pruned.
        example: One batch of images (N, C, H, W).
        points: 'auto', or fnmatch patterns of module paths.
        which: 'all', 'every_second' (the first, third, … and the last) or 'output' (only the last map of the output).
        include_untouched: Whether layers that pruning left as they were are followed as well.

    Raises:
        ConfigError: A pattern matches no module that can be a point.
    """
    output = Point(student.output_name, every=student.output_name == 'neck')
    if which == 'output':
        return [output]
    record = _Record(student, example)
    if points == 'auto':
        behind = _behind_whole_layers(student, teacher, record, include_untouched)
        found = [Point(name) for name in behind.values()]
        last = record.before_pools(record.output)
        if last not in behind:
            name = record.module_at([last])
            found.append(output if name is None else Point(name))
    else:
        found = _named(record, points)
    if which == 'every_second':
        found = [*found[:-1:2], found[-1]]
    return found


def _behind_whole_layers(student: Part, teacher: Part, record: _Record, include_untouched: bool) -> dict[Node, str]:
    """Operation that makes the tensor → path of the module that returns it, in forward order."""
    dense = dict(teacher.modules())
    found: dict[Node, str] = {}
    for name, module in student.modules():
        if not isinstance(module, (_ConvNd, nn.Linear)) or module not in record.made_by:
            continue
        outputs, inputs = widths(module)
        outputs_before, inputs_before = widths(dense[name])
        touched = inputs != inputs_before or hasattr(module, MASK)
        if outputs != outputs_before or not (touched or include_untouched):
            continue
        for fn in record.made_by[module]:
            chain = record.chain(fn)
            if path := record.module_at(chain):
                found[chain[-1]] = path
    return dict(sorted(found.items(), key=lambda item: record.order[item[1]]))


def _named(record: _Record, patterns: str | Sequence[str]) -> list[Point]:
    patterns = [patterns] if isinstance(patterns, str) else list(patterns)
    roots = record.part.names if len(record.part.names) == 1 else ()
    names = [name for name in record.order if name]
    chosen = set()
    for pattern in patterns:
        matched = [name for name in names if matches(name, [pattern], roots)]
        if not matched:
            raise ConfigError(
                f'points: the pattern {pattern!r} matches no module that runs '
                f'exactly once; names are like {", ".join(names)[:160]} …'
            )
        chosen.update(matched)
    if not chosen:
        raise ConfigError("points: empty; give patterns of module names, or 'auto'")
    return [Point(name) for name in names if name in chosen]


class _Record:
    """One forward pass as autograd saw it.

    Attributes:
        part: What ran.
        order: Rank in which modules finished, by path; only those that ran once and returned tensors.
        made_by: Operations that made a module's outputs, one per call.
        output: Operation that made the last tensor of the output.
    """

    def __init__(self, part: Part, example: Tensor) -> None:
        self.part = part
        self.order: dict[str, int] = {}
        self.made_by: dict[nn.Module, list[Node]] = {}
        self._returned_by: dict[Node, list[str]] = {}
        self._users: dict[Node, list[Node | None]] = {}
        names, calls = {module: name for name, module in part.modules()}, []

        def note(module: nn.Module, args: tuple, output: Any) -> None:
            calls.append((module, output.grad_fn if isinstance(output, Tensor) else None, bool(real_maps(output))))

        with tracing_mode(part.model), watching(list(names), note):
            outputs = real_maps(part(example.clone()))
        counts: dict[nn.Module, int] = {}
        for module, _, _ in calls:
            counts[module] = counts.get(module, 0) + 1
        for module, fn, gives in calls:
            if fn is not None:
                self.made_by.setdefault(module, []).append(fn)
            if counts[module] == 1 and gives:
                self.order[names[module]] = len(self.order)
                if fn is not None and names[module] != part.output_name:
                    self._returned_by.setdefault(fn, []).append(names[module])
        made = [cast(Node, out.grad_fn) for out in outputs]
        self.output = made[-1]
        self._link(made)

    def _link(self, outputs: Sequence[Node]) -> None:
        """Links from values to their users; leaving the network is a use as well."""
        for fn in outputs:
            self._users.setdefault(fn, []).append(None)
        stack, seen = list(outputs), set(outputs)
        while stack:
            fn = stack.pop()
            for source, _ in fn.next_functions:
                if source is None:
                    continue
                self._users.setdefault(source, []).append(fn)
                if source not in seen:
                    seen.add(source)
                    stack.append(source)

    def chain(self, fn: Node) -> list[Node]:
        """The operation and those behind it, up to the last before the next layer or fork."""
        chain = [fn]
        while True:
            users = self._users.get(fn, [])
            if len(users) == 2 and _is_swish(users, self._users):
                users = [user for user in users if not _kind(user).startswith('sigmoid')]
            if len(users) != 1 or users[0] is None or not _passes(users[0]):
                return chain
            fn = users[0]
            chain.append(fn)

    def module_at(self, chain: Sequence[Node]) -> str | None:
        """The outermost module that returns the last possible tensor of a chain; containers only if nothing else does.

        Shared modules (a block's only ReLU, called twice) and operations that no module returns (an addition inside a
        block) are no points; the tensor before is taken then.
        """
        for fn in reversed(chain):
            names = sorted(self._returned_by.get(fn, ()), key=lambda name: (self._is_container(name), name.count('.')))
            if names:
                return names[0]
        return None

    def _is_container(self, name: str) -> bool:
        return isinstance(self.part.model.get_submodule(name), (nn.Sequential, nn.Identity))

    def before_pools(self, fn: Node) -> Node:
        """The operation before the poolings and reshapes that end the network."""
        while _kind(fn).startswith(PEELED) and fn.next_functions[0][0] is not None:
            fn = fn.next_functions[0][0]
        return fn


def _kind(fn: Node | None) -> str:
    return type(fn).__name__.lower()


def _passes(fn: Node) -> bool:
    kind = _kind(fn)
    return not kind.startswith('addmm') and (kind.startswith(PASSED) or any(norm in kind for norm in NORMS))


def _is_swish(users: Sequence[Node | None], all_users: dict[Node, list[Node | None]]) -> bool:
    """True for two uses that are x and sigmoid(x) of one product, as mmcv's Swish is written."""
    gates = [user for user in users if user is not None and _kind(user).startswith('sigmoid')]
    others = [user for user in users if user is not None and _kind(user).startswith('mul')]
    return len(gates) == len(others) == 1 and all_users.get(gates[0]) == others

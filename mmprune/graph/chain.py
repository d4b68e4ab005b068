"""Reading a group's arithmetic off the traced graph: the steps between producer and readers, as a :class:`Site`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.residual import residual_share
from mmprune.graph.site import Activation, Branch, Depthwise, Norm, Pool, Site, Step, Unknown

if TYPE_CHECKING:
    from torch_pruning import DependencyGraph
    from torch_pruning.dependency import Node

    from mmprune.graph.group import ChannelGroup, Member


def elu(alpha: float, scale: float, input_scale: float) -> Callable[[Tensor], Tensor]:
    """ELU as autograd knows it; SELU and CELU are the same with other constants."""
    return lambda x: scale * torch.where(x > 0, x, alpha * torch.expm1(input_scale * x.clamp(max=0)))


#: Autograd node → what it does to a single channel. Constants are read from the node at once:
#: whoever kept the node would keep all activations of the traced pass.
ACTIVATIONS = {
    'relu': lambda fn: F.relu,
    'silu': lambda fn: F.silu,
    'gelu': lambda fn: partial(F.gelu, approximate=getattr(fn, '_saved_approximate', 'none')),
    'hardswish': lambda fn: F.hardswish,
    'hardsigmoid': lambda fn: F.hardsigmoid,
    'sigmoid': lambda fn: torch.sigmoid,
    'tanh': lambda fn: torch.tanh,
    'mish': lambda fn: F.mish,
    'elu': lambda fn: elu(fn._saved_alpha, fn._saved_scale, fn._saved_input_scale),
    'celu': lambda fn: elu(fn._saved_alpha, 1.0, 1 / fn._saved_alpha),
    'leakyrelu': lambda fn: lambda x, slope=fn._saved_negative_slope: F.leaky_relu(x, slope),
    'hardtanh': lambda fn: lambda x, low=fn._saved_min_val, high=fn._saved_max_val: x.clamp(low, high),
    'clamp': lambda fn: lambda x, low=fn._saved_min, high=fn._saved_max: x.clamp(low, high),
}
POOLS = {
    'maxpool': 'max',
    'avgpool': 'avg',
    'adaptiveavgpool': 'adaptive_avg',
    'adaptivemaxpool': 'adaptive_max',
    'mean': 'adaptive_avg',
    'upsample': 'upsample',
    'constantpad': 'pad',
}
TRANSPARENT = (
    'view',
    'reshape',
    'clone',
    'squeeze',
    'unsqueeze',
    'alias',
    'contiguous',
    'cat',
    'split',
    'slice',
    'transpose',
    'permute',
    'tobackward',
    'dropout',
    'flatten',
    'chunk',
    'identity',
)


class Untraceable(Exception):
    """A group whose arithmetic is not a plain chain; the message says why."""


def find_site(group: ChannelGroup, graph: DependencyGraph, names: dict[nn.Module, str]) -> Site:
    """The group as arithmetic; ``site.problem`` says why where it is no plain chain."""
    site = {
        'name': group.name,
        'width': group.width,
        'norms': _norms(group),
        'producers': tuple((m.name, m.module, m.channels) for m in group.producers),
    }
    try:
        if len(group.producers) > 1:
            others = len(group.producers) - 2
            raise Untraceable(
                f'its channels are made by {group.producers[0].name} and {group.producers[1].name}'
                f'{f" and {others} more" if others else ""} together (sum or product)'
            )
        producer = group.producers[0]
        index = producer.index
        if index.shape[1] != 1:
            raise Untraceable('its units are bundles of channels (grouped conv)')
        if getattr(producer.module, 'transposed', False) or getattr(producer.module, 'groups', 1) > 1:
            raise Untraceable(f'{producer.name} is a grouped or transposed conv')
        branches = _follow(group, graph, names)
    except (Untraceable, ValueError) as reason:
        return Site(**site, branches=_readers_alone(group, graph, names), problem=str(reason))
    return Site(
        **site,
        producer_name=producer.name,
        producer=producer.module,
        producer_index=index[:, 0],
        branches=tuple(branches),
    )


def _norms(group: ChannelGroup) -> tuple[Norm, ...]:
    """The group's batch norms, unless its units are bundles of channels there."""
    try:
        steps = [_inner_step(member) for member in group.norms]
    except (Untraceable, ValueError):
        return ()
    return tuple(step for step in steps if isinstance(step, Norm))


def _readers_alone(group: ChannelGroup, graph: DependencyGraph, names: dict[nn.Module, str]) -> tuple[Branch, ...]:
    """The readers of a group whose way to them is unknown; none if one of them is no ordinary layer."""
    try:
        branches = tuple(
            _branch(member, graph.module2node[member.module], (Unknown(member.name),), names)
            for member in group.readers
        )
    except (Untraceable, ValueError):
        return ()
    bundled = any(branch.index.shape[1] > 1 for branch in branches if isinstance(branch.module, _ConvNd))
    return () if bundled else branches


def _follow(group: ChannelGroup, graph: DependencyGraph, names: dict[nn.Module, str]) -> list[Branch]:
    """Walk forward from the producer to every reader."""
    readers = {member.module: member for member in group.readers}
    inner = {member.module: member for member in (*group.norms, *group.depthwise)}
    found: dict[nn.Module, Branch] = {}
    start = graph.module2node[group.producers[0].module]
    stack: list[tuple[Node, tuple[Step, ...]]] = [(node, ()) for node in start.outputs]
    while stack:
        node, chain = stack.pop()
        module = node.module
        if module in readers:
            branch = _branch(readers[module], node, chain, names)
            if module in found:
                raise Untraceable(f'reaches {branch.name} on several ways')
            found[module] = branch
            continue
        if module in inner:
            chain = (*chain, _inner_step(inner[module]))
            following = node.outputs
        else:
            step, following = _element_wise_step(node)
            chain = chain if step is None else (*chain, step)
        stack += [(out, chain) for out in following]
    missing = [member.name for module, member in readers.items() if module not in found]
    if missing:
        raise Untraceable(f'no plain way to {missing[0]} found')
    return [found[module] for module in readers]


def _branch(reader: Member, node: Node, chain: tuple[Step, ...], names: dict[nn.Module, str]) -> Branch:
    module = reader.module
    if getattr(module, 'groups', 1) > 1 or getattr(module, 'transposed', False):
        raise Untraceable(f'{reader.name} is a grouped or transposed conv')
    following = [out.module for out in node.outputs]
    norm = following[0] if len(following) == 1 and isinstance(following[0], _BatchNorm) else None
    return Branch(reader.name, module, reader.index, chain, norm, names.get(norm), residual_share(node))


def _inner_step(member: Member) -> Step:
    index = member.index
    if index.shape[1] != 1:
        raise Untraceable(f'{member.name} holds several channels per unit')
    if isinstance(member.module, _ConvNd):
        return Depthwise(member.name, member.module, index[:, 0])
    if isinstance(member.module, _BatchNorm):
        return Norm(member.name, member.module, index[:, 0])
    if not isinstance(member.module, nn.PReLU):
        raise Untraceable(f'passes {member.name} ({type(member.module).__name__})')
    return _prelu(member.module.weight.detach()[index[:, 0]])


def _prelu(slope: Tensor) -> Activation:
    """One slope per unit (first axis of what the function is called with), or one for all."""
    return Activation('prelu', lambda x: torch.where(x >= 0, x, x * slope.to(x).reshape(-1, *[1] * (x.dim() - 1))))


def _element_wise_step(node: Node) -> tuple[Step | None, list[Node]]:
    """The step that an operation without parameters is (None: it changes no value), and where it leads."""
    if isinstance(node.module, nn.PReLU):
        return _prelu(node.module.weight.detach()), node.outputs
    grad_fn = node.grad_fn
    kind = type(grad_fn).__name__ if isinstance(node.module, nn.Module) else ''
    kind = kind.lower()
    if _is_sigmoid_of_swish(node):
        product = node.outputs[0]
        return Activation('silu', F.silu), product.outputs
    if kind.startswith('mul') and _is_swish_product(node):
        return None, []  # reached from its sigmoid, which carries on
    if kind.startswith('addmm'):
        return None, node.outputs  # the inside of a linear layer over tokens; the layer itself comes next
    if len(node.inputs) > 1 and not kind.startswith('cat'):
        raise Untraceable(f'joins other tensors ({kind.removesuffix("backward0")})')
    if kind.startswith(('add', 'mul', 'sub', 'div')):
        raise Untraceable(f'scaled or shifted on the way ({kind.removesuffix("backward0")})')
    for name, make in ACTIVATIONS.items():
        if kind.startswith(name + 'backward'):
            function = make(grad_fn)
            is_relu6 = name == 'hardtanh' and (grad_fn._saved_min_val, grad_fn._saved_max_val) == (0, 6)
            return Activation('relu6' if is_relu6 else name, function), node.outputs
    for name, pool in POOLS.items():
        if kind.startswith(name):
            return Pool(pool), node.outputs
    if any(word in kind for word in TRANSPARENT) or not kind:
        return None, node.outputs
    raise Untraceable(f'passes an unknown operation ({type(grad_fn).__name__})')


def _is_swish_product(node: Node) -> bool:
    """A product that is x · sigmoid(x), as mmcv's Swish is written."""
    kinds = [type(n.grad_fn).__name__.lower() for n in node.inputs]
    gates = [n for n, kind in zip(node.inputs, kinds) if kind.startswith('sigmoid')]
    others = [n for n, kind in zip(node.inputs, kinds) if not kind.startswith('sigmoid')]
    return len(gates) == 1 and len(others) == 1 and gates[0].inputs == [others[0]]


def _is_sigmoid_of_swish(node: Node) -> bool:
    if not type(node.grad_fn).__name__.lower().startswith('sigmoid') or len(node.outputs) != 1:
        return False
    product = node.outputs[0]
    return type(product.grad_fn).__name__.lower().startswith('mul') and _is_swish_product(product)

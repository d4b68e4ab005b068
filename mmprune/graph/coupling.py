"""From Torch-Pruning's coupling to ours: groups with names, bundles, and reasons against those it gets wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch_pruning as tp
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from mmprune.graph.axes import map_by_shapes
from mmprune.graph.group import ChannelGroup, Member, is_depthwise
from mmprune.surgery.plain import PlainLayers
from mmprune.surgery.slicing import is_channel_norm, norm_width, tells_width, widths


@contextmanager
def _mapped_already() -> Iterator[None]:
    """Torch-Pruning maps the whole graph's indices anew for every group, for it may have been cut in between.

    Here nothing is, and for a DenseNet-201 that is nearly all of the time.
    """
    update = tp.dependency.index_mapping.update_index_mapping
    tp.dependency.index_mapping.update_index_mapping = lambda graph: None
    try:
        yield
    finally:
        tp.dependency.index_mapping.update_index_mapping = update


class _Passage(tp.BasePruningFunc):
    """Torch-Pruning's view of a module that changes no channel but says how many there are."""

    def prune_out_channels(self, layer: nn.Module, idxs: list) -> nn.Module:
        """Do nothing: cutting is :mod:`mmprune.surgery.slicing`'s affair."""
        return layer

    prune_in_channels = prune_out_channels

    def get_out_channels(self, layer: nn.Module) -> int:
        """The channels that the layer says it has."""
        return norm_width(layer) if is_channel_norm(layer) else layer.out_channels

    get_in_channels = get_out_channels


def _is_passage(module: nn.Module) -> bool:
    """A module that Torch-Pruning does not know, but we do."""
    known = (_NormBase, nn.GroupNorm)
    return tells_width(module) or (is_channel_norm(module) and not isinstance(module, known))


class CarefulGraph(tp.DependencyGraph):
    """A dependency graph that takes a reshape for a flatten of feature maps only where it can be one.

    Torch-Pruning 1.6 guesses from channel counts. Among tokens, attention heads or shuffled channels the guess is
    wrong, and its index lists grow without bound. What is put into a tensor by index (the features of boxes, level by
    level) only seems to be reshaped: it keeps its axes.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for kind in {type(module) for module in model.modules() if _is_passage(module)}:
            self.register_customized_layer(kind, _Passage())

    def _trace(self, *args: object, **kwargs: object) -> dict:
        module2node = super()._trace(*args, **kwargs)
        sizes = [
            getattr(node.grad_fn, '_saved_self_sym_sizes', ())
            for node in module2node.values()
            if node.type == tp.ops.OPTYPE.RESHAPE
        ]
        self._2d_4d = self._2d_4d and all(len(size) in (0, 2, 4) for size in sizes)
        for node in module2node.values():
            if (
                node.type == tp.ops.OPTYPE.RESHAPE
                and node.outputs
                and all(type(out.grad_fn).__name__.startswith('IndexPut') for out in node.outputs)
            ):
                node.type = tp.ops.OPTYPE.ELEMENTWISE
        return module2node

    def build_dependency(self, *args: object, **kwargs: object) -> tp.DependencyGraph:
        """Trace a network, and map what is flattened or concatenated by true shapes instead of guesses."""
        super().build_dependency(*args, **kwargs)
        map_by_shapes(self)
        return self

    def all_channel_groups(self, exclude: set[nn.Module]) -> list[tp.Group | tuple[nn.Module, str]]:
        """One group per coupled set of output channels; where following them fails, the layer and the error."""
        found: list[tp.Group | tuple[nn.Module, str]] = []
        seen = set(exclude)
        for module in list(self.module2node):
            if not isinstance(module, (_ConvNd, nn.Linear)) or module in seen:
                continue
            pruner = self.get_pruner_of_module(module)
            try:
                channels = list(range(pruner.get_out_channels(module)))
                with _mapped_already():
                    group = self.get_pruning_group(module, pruner.prune_out_channels, channels)
            except (ArithmeticError, AttributeError, LookupError, TypeError) as error:
                found.append((module, f'{error!r:.60}'))
                continue
            seen.update(
                dep.target.module
                for dep, _ in group
                if self.is_out_channel_pruning_fn(dep.handler) and isinstance(dep.target.module, nn.Module)
            )
            found.append(group)
        return found

    def release(self) -> None:
        """Let go of the autograd graph, and with it of all activations, without waiting for garbage collection."""
        for module, node in self.module2node.items():
            node.grad_fn = None
            for links in (node.inputs, node.outputs, node.dependencies):
                links.clear()
            if hasattr(module, 'grad_fn') and not isinstance(module, nn.Parameter):
                module.grad_fn = None
        self.module2node = {}


def convert(
    raw: tp.Group, names: dict, parameter_names: dict, probes: set, order: dict, plain: PlainLayers
) -> ChannelGroup:
    """A Torch-Pruning group with all its channels, as one of ours."""
    reasons: list[str] = []
    is_interface = False
    members: dict[str, list] = {kind: [] for kind in ('producers', 'depthwise', 'norms', 'passages', 'readers')}
    for item in raw.items:
        module = item.dep.target.module
        if obstacle := _obstacle(item.dep.target):
            reasons.append(obstacle)
        gives = item.dep.handler.__name__.endswith('out_channels')
        roots, channels = torch.tensor(item.root_idxs), torch.tensor(item.idxs)
        if module in probes:
            is_interface = True
        elif isinstance(module, nn.Parameter):
            reasons.append(f'coupled to the free parameter {parameter_names.get(module, "?")}')
        elif is_channel_norm(module) or isinstance(module, nn.PReLU):
            if not isinstance(module, nn.PReLU) or module.num_parameters > 1:
                members['norms'].append((module, roots, channels))
        elif isinstance(module, (nn.LayerNorm, nn.GroupNorm)):
            whose = 'all' if isinstance(module, nn.LayerNorm) or module.num_groups == 1 else 'several'
            reasons.append(f'{names[module]} ({type(module).__name__}) mixes statistics of {whose} channels')
        elif isinstance(module, nn.Module) and tells_width(module):
            members['passages'].append((module, roots, channels))
        elif is_depthwise(module):
            members['depthwise'].append((module, roots, channels))
        elif isinstance(module, (_ConvNd, nn.Linear)):
            members['producers' if gives else 'readers'].append((module, roots, channels))
        elif isinstance(module, nn.Module) and module in names:
            reasons.append(f'{names[module]} ({type(module).__name__}) cannot be sliced')
    unit_of_root = _bundle(len(raw[0].idxs), members)
    made = {kind: _merge(entries, unit_of_root, names) for kind, entries in members.items()}
    made['producers'].sort(key=lambda member: order.get(member.module, len(order)))
    reasons += [
        obstacle
        for kind in ('producers', 'depthwise', 'norms', 'readers')
        for m in made[kind]
        if (obstacle := plain.obstacle(m.module))
    ]
    reasons += [problem for kind, entries in made.items() for m in entries if (problem := _problem(m, kind))]
    unknown = [m.name for kind in made.values() for m in kind if m.module not in order]
    if unknown:
        reasons.append(f'{unknown[0]} does not run in a forward pass')
    return ChannelGroup(
        name=made['producers'][0].name,
        width=int(unit_of_root.max()) + 1,
        reason=reasons[0] if reasons else '',
        is_interface=is_interface,
        **{kind: tuple(entries) for kind, entries in made.items()},
    )


def _obstacle(node: tp.dependency.Node) -> str:
    """The reason why channels that pass an operation cannot go one by one, if there is one."""
    grad_fn = node.grad_fn
    if 'ConstantPad' in type(grad_fn).__name__:
        return 'a shortcut pads its channels with zeros (option A)' if any(grad_fn._saved_pad[4:]) else ''
    if node.type in (tp.ops.OPTYPE.SPLIT, tp.ops.OPTYPE.UNBIND, tp.ops.OPTYPE.SLICE):
        axes_num = len(getattr(grad_fn, '_saved_self_sym_sizes', ())) or 4
        axis = getattr(grad_fn, '_saved_dim', 1)
        axis = axis - 2**64 + axes_num if axis >= 2**63 else axis  # autograd keeps -1 as an unsigned number
        if axis == (2 if axes_num == 3 else 1):
            return 'is cut into parts of fixed size on the way (split, chunk or slice)'
    return ''


def _problem(member: Member, kind: str) -> str:
    """The reason why a traced member cannot be right, if there is one."""
    width, needed = widths(member.module)[1 if kind == 'readers' else 0], int(member.channels.max()) + 1
    if needed > width:
        return f'the traced coupling is wrong: {member.name} has {width} channels, not {needed}'
    if kind == 'readers':
        return ''
    try:
        member.index  # noqa: B018
    except ValueError:
        return f'{member.name} makes only some of the channels (padded, shuffled or joined with others)'
    return ''


def _merge(entries: list, unit_of_root: Tensor, names: dict) -> list[Member]:
    """One member per module: a module may appear several times (a concatenation that holds a tensor twice)."""
    by_module: dict[nn.Module, list] = {}
    for module, roots, channels in entries:
        by_module.setdefault(module, []).append((unit_of_root[roots], channels))
    members = []
    for module, parts in by_module.items():
        units, channels = torch.cat([u for u, _ in parts]), torch.cat([c for _, c in parts])
        size = int(units.max()) + 1
        pairs = torch.unique(channels * size + units)  # sorted by channel
        members.append(Member(names[module], module, pairs % size, pairs // size))
    return members


def _bundle(roots_num: int, members: dict[str, list]) -> Tensor:
    """Unit of every root channel: a grouped conv must lose the same positions in each of its groups."""
    edges: list[tuple[Tensor, Tensor]] = []
    for kind, out in (('producers', True), ('readers', False)):
        for module, roots, channels in members[kind]:
            groups = getattr(module, 'groups', 1)
            if groups == 1:
                continue
            position = channels % ((module.out_channels if out else module.in_channels) // groups)
            order = torch.argsort(position, stable=True)
            same = position[order][1:] == position[order][:-1]
            edges.append((roots[order][1:][same], roots[order][:-1][same]))
    if not edges:
        return torch.arange(roots_num)
    a, b = (np.concatenate([edge[i].numpy() for edge in edges]) for i in (0, 1))
    links = coo_matrix((np.ones(len(a)), (a, b)), shape=(roots_num, roots_num))
    label = torch.from_numpy(connected_components(links, directed=False)[1]).long()
    first = torch.stack([torch.nonzero(label == k)[0, 0] for k in range(int(label.max()) + 1)])
    return torch.argsort(torch.argsort(first))[label]


def unfollowed(raw: tuple[nn.Module, str], names: dict) -> ChannelGroup:
    """A layer whose channels could not be followed, as a group that stays whole."""
    module, error = raw
    width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
    channels = torch.arange(width)
    return ChannelGroup(
        names[module],
        width,
        (Member(names[module], module, channels, channels),),
        reason=f'Torch-Pruning cannot follow its channels ({error})',
    )

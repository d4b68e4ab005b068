"""RedundancyGraph: filters whose feature maps look alike are reduced to one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
import torch
from mmengine.dist import is_main_process
from torch import Tensor, nn

from mmprune.criteria.base import Criterion
from mmprune.criteria.redundancy import (
    check_information,
    collect,
    decompose,
    expect,
    load_information,
    removal_levels,
    save_information,
    search_threshold,
    voting_members,
)
from mmprune.errors import ConfigError
from mmprune.graph.tracing import Example, Forward
from mmprune.images.noise import Noise
from mmprune.images.source import ImageSource
from mmprune.measure.target import UnitTarget
from mmprune.moments import batch_statistics
from mmprune.options import Bounds, Count, Says, Share, build
from mmprune.registry import CRITERIA, SYNTHESIZERS, build_part

if TYPE_CHECKING:
    from mmprune.graph.group import ChannelGroup

#: Images that pass through the network at once; keeps the peak memory of large networks small.
CHUNK = 20
REDUCTIONS: dict[str, Callable[..., np.ndarray]] = {'mean': np.mean, 'max': np.max, 'min': np.min}
Inputs = (
    Literal['real', 'synthetic', 'noise', 'pink', 'weights'] | Annotated[dict, Says("a synthesizer's dict(type=…)")]
)
TargetOptions = Annotated[Mapping, Says('dict(flops=…), dict(params=…) or dict(ratio=…)')]
NOISES = {'noise': 'GaussianNoise', 'pink': 'PinkNoise'}


@CRITERIA.register_module()
class RedundancyGraph(Criterion):
    """Redundancy-graph decomposition (Li et al., Neurocomputing 2024); decides the widths itself.

    The output of every conv (before batch norm) is hashed, map by map: 64 bits that say which low DCT frequencies lie
    above their mean. Filters whose hashes agree in at least a share ``threshold`` of all bits are linked, and of every
    piece of the densest part of this graph only the filter with the largest L1 norm stays, until no link is left.

    Differences from the published code that change results: real images pass in eval mode and in a fixed order (see
    ``batch_statistics``), maps belong to the layer that made them even where a block runs its shortcut first, and
    layers whose maps are one pixel (linear layers too) have no hash and stay whole instead of collapsing.

    With an allocator it is an ordinary criterion: a unit's score is 1 less the threshold at which it goes when the
    threshold falls from 1 in infinitely small steps (each time the most similar pair loses its weaker filter), so
    ``Global`` compares similarities between layers. Units of layers without hashes score above 1, by their L1 norms.

    Example:
        >>> mmprune.prune(model, x, pruner=dict(type='ChannelPruner', criterion=dict(
        ...     type='RedundancyGraph', target=dict(flops=0.5))))
    """

    def __init__(
        self,
        threshold: Share | None = None,
        target: TargetOptions | None = None,
        inputs: Inputs | None = None,
        num_images: Count = 100,
        group_reduce: Literal['lead', 'mean', 'max', 'min'] = 'lead',
        hash_size: Annotated[int, Bounds(at_least=2)] = 8,
        dc: bool = True,
        batch_statistics: bool | None = None,
        structure: str | None = None,
        save_structure: str | None = None,
    ) -> None:
        """A criterion with one threshold for all layers: given, searched for a target, or read from a file.

        Args:
            threshold: Share of equal bits that links two filters. Defaults to 0.7 (published: 0.65 to 0.85).
            target: Instead: ``dict(flops=0.5)`` or ``dict(params=0.5)``, the share that may remain inside the pruner's
                targets, or ``dict(ratio=0.3)``, the share of the units to remove; the threshold is then searched.
            inputs: 'real' or 'synthetic' (the run's images), 'noise' (Gaussian), 'pink', a synthesizer's config, or
                'weights' (no images: expected agreement on white noise at each layer, in closed form). None: the
                run's images if there are any, else Gaussian noise.
            num_images: How many images to look at (all ranks together).
            group_reduce: Where several convs make the same channels: 'lead' (published) asks the one that enters from
                the earlier stage, 'mean', 'max' and 'min' combine the similarities of all of them.
            hash_size: Frequencies per axis.
            dc: Whether the maps' means take part in the hash (published). Where they dominate, filters count as equal
                when their means have equal sign.
            batch_statistics: Whether batch norms normalise with the images' own statistics; running statistics stay as
                they are. None: for noise only (noise and running statistics do not fit each other). Published: True.
            structure: File of an earlier choice, to make again without images.
            save_structure: Where to write the choice: JSON with every group's layers, kept units and order of removal.
        """
        if threshold is not None and target is not None:
            raise ValueError('give either `threshold` or `target`, not both')
        self.target = None if target is None else build(UnitTarget, target, 'target')
        self.threshold = threshold if threshold is not None or target is not None else 0.7
        self.source = build_part(SYNTHESIZERS, inputs, 'inputs') if isinstance(inputs, dict) else None
        self.inputs, self.num_images, self.group_reduce = inputs, num_images, group_reduce
        self.hash_size, self.dc, self.batch_statistics = hash_size, dc, batch_statistics
        self.structure = None if structure is None else load_information(structure)
        self.save_structure = save_structure
        self._similarity: dict[str, np.ndarray] = {}
        self._strength: dict[str, np.ndarray] = {}
        self._problems: dict[str, str] = {}
        self._groups: Sequence[ChannelGroup] = ()

    # ---- images --------------------------------------------------------------------------------------------------

    def images_for(self, example: Example, images: ImageSource | None) -> ImageSource | None:
        """The run's images or those that ``inputs`` names."""
        if self.structure is not None:
            return None
        kind = self.inputs or ('noise' if images is None else 'real')
        if kind in ('real', 'synthetic'):
            if images is None:
                raise ConfigError(
                    f"inputs={kind!r}: there are no images; give `images`, or set inputs to 'noise' or 'weights'"
                )
            return images
        source = self.source
        if source is None:
            count = 1 if kind == 'weights' else self.num_images  # one image tells the sizes of the maps
            source = build_part(
                SYNTHESIZERS, dict(type=NOISES.get(str(kind), 'GaussianNoise'), num_images=count), 'inputs'
            )
        while isinstance(example, (tuple, list)) and len(example) == 1:
            example = example[0]
        if not isinstance(example, Tensor) or example.dim() != 4:
            raise ConfigError(f'inputs={kind!r}: the example input is no batch of images (N, C, H, W); give `images`')
        if not isinstance(source, Noise):
            raise ConfigError(
                f'inputs: {type(source).__name__} makes its images before pruning; name it as `images`, and '
                "set inputs to 'synthetic'"
            )
        return source.like(example)

    # ---- similarities --------------------------------------------------------------------------------------------

    def prepare(self, groups: Sequence[ChannelGroup], forward: Forward, images: ImageSource | None) -> None:
        """Compute the similarities of all groups; see the base class."""
        self._similarity, self._strength, self._problems = {}, {}, {}
        if self.structure is not None:
            check_information(self.structure, {group.name: group.width for group in groups})
            return
        if images is None:
            raise ConfigError('images: missing; RedundancyGraph needs some')
        voters = voting_members(groups, self.group_reduce == 'lead')
        layers = [(member.module, member.index) for group in groups for member in voters[group.name]]
        if self.inputs == 'weights':
            results = iter(expect(layers, forward, next(iter(images)), self.hash_size, self.dc))
        else:
            with batch_statistics(self._norms_to_refresh(groups, images)):
                agreements = collect(
                    layers, forward, images.first(self.num_images).share(CHUNK), self.hash_size, self.dc
                )
            results = iter([agreement.problem or agreement.similarity() for agreement in agreements])
        for group in groups:
            weights = dict(zip(group.producers, group.weights()))
            strengths = [weights[member].abs().sum(dim=1) for member in voters[group.name]]
            self._strength[group.name] = torch.stack(strengths).sum(dim=0).cpu().numpy()
            found = [next(results) for _ in voters[group.name]]
            problems = [problem for problem in found if isinstance(problem, str)]
            if problems:
                self._problems[group.name] = f'{problems[0]}: no redundancy graph, kept whole'
            else:
                matrices = [value.cpu().numpy() for value in found if isinstance(value, Tensor)]
                combine = REDUCTIONS.get(self.group_reduce)
                self._similarity[group.name] = matrices[0] if combine is None else combine(matrices, axis=0)

    def _norms_to_refresh(self, groups: Sequence[ChannelGroup], images: ImageSource) -> list[nn.Module]:
        wanted = images.is_noise if self.batch_statistics is None else self.batch_statistics
        norms = {norm.module for group in groups for norm in group.norms}
        return [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)] if wanted else []

    # ---- choices -------------------------------------------------------------------------------------------------

    def settle(
        self, groups: Sequence[ChannelGroup], remaining: Callable[[Mapping[str, int]], Mapping[str, float]]
    ) -> None:
        """Find the threshold that meets the target."""
        self._groups = groups
        if budget := self.budget():
            quantity, share = budget

            def left(threshold: float) -> float:
                return remaining({g.name: len(self._kept(g, threshold)) for g in groups})[quantity]

            try:
                self.threshold = search_threshold(left, share)
            except ValueError as error:
                raise ConfigError(f'target[{"ratio" if quantity == "units" else quantity!r}]: {error}') from error

    def budget(self) -> tuple[str, float] | None:
        """The target, unless an earlier choice is made again."""
        if self.target is None or self.structure is not None:
            return None
        return self.target.quantity, self.target.share

    def settled(self, kept: Mapping[str, Tensor]) -> None:
        """Write the choice if wanted."""
        if self.save_structure is not None and is_main_process():
            self.save(self.save_structure, self._groups, kept)

    def select(self, group: ChannelGroup) -> Tensor:
        """The units that survive the decomposition at the threshold; all of them where maps have no hash."""
        if self.threshold is None and self.structure is None:
            raise ConfigError('target: no threshold was searched; with an allocator give the target to it')
        return torch.from_numpy(self._kept(group, 1.0 if self.threshold is None else self.threshold))

    def scores(self, group: ChannelGroup) -> Tensor:
        """1 less the threshold at which each unit goes."""
        if self.structure is not None:
            order = np.array(self.structure[group.name]['order'])
            levels = 1 - np.arange(len(order)) / len(order)
        elif group.name in self._problems:
            order = np.argsort(self._strength[group.name], kind='stable')
            levels = -np.arange(1, len(order) + 1) / len(order)
        else:
            order, levels = removal_levels(self._similarity[group.name], self._strength[group.name])
        scores = torch.empty(len(order), dtype=torch.float64)
        scores[torch.from_numpy(order)] = torch.from_numpy(1 - levels) + torch.arange(len(order)) * 1e-9  # no ties
        return scores

    def remark(self, group: ChannelGroup) -> str:
        """The reason why a group was left whole."""
        return self._problems.get(group.name, '')

    def similarity(self, group_name: str) -> np.ndarray | None:
        """The similarities that the last :meth:`prepare` found, shape ``(n, n)``; None where maps have no hash."""
        return self._similarity.get(group_name)

    def _kept(self, group: ChannelGroup, threshold: float) -> np.ndarray:
        if self.structure is not None:
            return np.array(self.structure[group.name]['kept'])
        if group.name in self._problems:
            return np.arange(group.width)
        return decompose(self._similarity[group.name], threshold, self._strength[group.name])

    # ---- files ---------------------------------------------------------------------------------------------------

    def save(self, path: str | Path, groups: Sequence[ChannelGroup], kept: Mapping[str, Tensor]) -> None:
        """Write what is kept of every group; ``structure=path`` makes the same choice again."""
        save_information(
            path,
            self.threshold,
            {
                group.name: {
                    'layers': [member.name for member in group.producers],
                    'total': group.width,
                    'kept': kept[group.name].tolist(),
                    'order': torch.argsort(self.scores(group), stable=True).tolist(),
                }
                for group in groups
            },
        )

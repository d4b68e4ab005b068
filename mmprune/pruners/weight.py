"""Unstructured pruning: masks on single weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.allocators.base import Allocator, Layer
from mmprune.allocators.budget import Budget, Counts, within_budget
from mmprune.allocators.global_allocator import unit_costs
from mmprune.distortion.cuts import WeightCut
from mmprune.errors import ConfigError
from mmprune.graph.patterns import check_patterns, is_inside, matches
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode, watching
from mmprune.measure.complexity import module_flops
from mmprune.options import PartConfig, under
from mmprune.pruners.base import Images, Plan, Pruner
from mmprune.registry import ALLOCATORS, PRUNERS, build_part
from mmprune.report.report import LayerRow
from mmprune.restorers.base import Restorer
from mmprune.surgery.masking import attach_mask
from mmprune.surgery.plain import PlainLayers
from mmprune.surgery.slicing import MASK


@dataclass
class WeightPlan(Plan):
    """Weights that are going to be masked.

    Attributes:
        masks: Bool, of each pruned layer's weight by the layer's name; True where a weight stays.
    """

    masks: dict[str, Tensor] = field(default_factory=dict)

    @contextmanager
    def trial(self) -> Iterator[None]:
        """The network with the weights zeroed, for as long as the context lasts."""
        modules = {name: self.scope.model.get_submodule(name) for name in self.masks}
        backup = {name: module.weight.detach().clone() for name, module in modules.items()}
        try:
            with torch.no_grad():
                for name, module in modules.items():
                    module.weight.mul_(self.masks[name])
            yield
        finally:
            with torch.no_grad():
                for name, module in modules.items():
                    module.weight.copy_(backup[name])

    def written(self) -> list[Tensor]:
        """The masked weights."""
        return [self.scope.model.get_submodule(name).weight for name in self.masks]

    def apply(self, restorer: Restorer | None = None, images: Images = None) -> None:
        """Attach the masks; a restorer sees the network as a whole before and after."""
        model, forward = self.scope.model, self.scope.forward
        if restorer is not None:
            images = restorer.images_for(self.scope.example, images)
            with tracing_mode(model):
                restorer.prepare([], forward, images)
        for name, mask in self.masks.items():
            attach_mask(model.get_submodule(name), mask)
        if restorer is not None:
            before = {key: value.clone() for key, value in model.state_dict().items()}
            with tracing_mode(model):
                restorer.restore_model(model, forward, images)
            if all(torch.equal(value, before[key]) for key, value in model.state_dict().items()):
                self.warnings.append(
                    f'restorer: {type(restorer).__name__} found nothing to repair in a masked network; batch norms '
                    "are repaired by MomentRestoration (with moments='noise' or 'images') and by BNRecalibration"
                )


@PRUNERS.register_module()
class WeightPruner(Pruner):
    """Zeroes the smallest weights of every conv and linear layer, as many as the allocator (or a pattern) says."""

    def __init__(
        self, allocator: PartConfig | Allocator | None = None, keep: Sequence[str] = (), pattern: str | None = None
    ) -> None:
        """Configure the cut.

        Args:
            allocator: Number of weights that every layer keeps.
            keep: fnmatch patterns of module names whose weights stay whole.
            pattern: Instead of an allocator: 'N:M', e.g. '2:4', keeps the N largest of every M weights that lie side
                by side along the input channels, as sparse tensor cores want it. Layers whose input channels (per
                group) are no multiple of M stay whole.
        """
        if (allocator is None) == (pattern is None):
            raise ValueError("give either `allocator` or `pattern` (e.g. '2:4')")
        self.pattern = None if pattern is None else _read_pattern(pattern)
        self.allocator = None if allocator is None else build_part(ALLOCATORS, allocator, 'allocator')
        if self.allocator is not None and self.allocator.budget and self.allocator.budget.latency is not None:
            raise ValueError('allocator.target.latency: masks do not make a network faster; give params or flops')
        self.keep_patterns = [keep] if isinstance(keep, str) else list(keep)

    def plan(
        self, scope: Scope, images: Images = None, fraction: float = 1.0, dense_widths: Mapping[str, int] | None = None
    ) -> WeightPlan:
        """Rank and allocate the weights; earlier masks only shrink, and ratios are shares of the dense network."""
        if self.pattern is not None:
            plan = self._plan_pattern(scope)
        else:
            with under('allocator', self.allocator):
                plan = self._plan_allocated(scope, images, fraction)
        obstacles = unwritable(scope.model, self._modules_of_targets(scope))
        plan.rows += [LayerRow(name, size, size, reason, [name]) for name, (size, reason) in obstacles.items()]
        return plan

    def _plan_allocated(self, scope: Scope, images: Images, fraction: float) -> WeightPlan:
        cuts, flops = self.cuts(scope), module_flops(scope)
        layers = [_layer(cut, flops.get(cut.name, 0)) for cut in cuts]
        layers, note = self.allocator.prepare(layers, cuts, scope, images)
        budget = None
        if self.allocator.budget is None:
            counts = self.allocator.keep_counts(layers, self._ratio_of_alive(layers, self.allocator.ratio * fraction))
        else:
            counts, budget = self._within_budget(layers, fraction)
        masks = {cut.name: cut.kept(count).reshape(layer.shape) for cut, layer, count in zip(cuts, layers, counts)}
        rows = [LayerRow(layer.name, layer.alive, count, '', [layer.name]) for layer, count in zip(layers, counts)]
        return WeightPlan(rows, scope, masks, note=note, budget=budget)

    def cuts(self, scope: Scope) -> list[WeightCut]:
        """The weights that may go, layer by layer in order of registration, ranked by magnitude."""
        return [weight_cut(name, module) for name, module in self._modules(scope).items()]

    def _plan_pattern(self, scope: Scope) -> WeightPlan:
        plan = WeightPlan([], scope, note='{}:{} pattern'.format(*self.pattern))
        for cut in self.cuts(scope):
            weight, (most, block) = cut.modules[0].weight, self.pattern
            row = LayerRow(cut.name, cut.alive, cut.alive, '', [cut.name])
            if weight.shape[1] % block:
                row.reason = f'{weight.shape[1]} input channels are no multiple of {block}'
            else:
                plan.masks[cut.name] = pattern_mask(magnitudes(cut.modules[0]).reshape(weight.shape), most, block)
                row.after = int(plan.masks[cut.name].sum())
            plan.rows.append(row)
        if not plan.masks:
            raise ConfigError(f'pattern: no layer has input channels in multiples of {block}')
        return plan

    def _ratio_of_alive(self, layers: Sequence[Layer], ratio: float) -> float:
        """A share of the dense network as a share of what is alive, as allocators count."""
        if all(layer.alive == layer.width for layer in layers):
            return ratio
        prices = unit_costs(layers, self.allocator.counts, 'ratio')
        whole = sum(price * layer.width for price, layer in zip(prices, layers))
        alive = sum(price * layer.alive for price, layer in zip(prices, layers))
        return max(0.0, 1 - (1 - ratio) * whole / alive) if alive else 0.0

    def _within_budget(self, layers: Sequence[Layer], fraction: float) -> tuple[list[int], Budget]:
        """Weights that every layer keeps, and what the budget was used for."""
        kind, share = self.allocator.budget.quantity, self.allocator.budget.share
        prices = {layer.name: layer.flops if kind == 'flops' else 1.0 for layer in layers}
        dense, asked = {layer.name: layer.width for layer in layers}, 1 - (1 - share) * fraction
        whole = sum(prices[layer.name] * layer.width for layer in layers)

        def counts_at(ratio: float) -> dict[str, int]:
            return dict(zip(dense, self.allocator.keep_counts(layers, ratio)))

        def remaining(counts: Counts) -> float:
            return sum(prices[name] * count for name, count in counts.items()) / whole

        try:
            counts = within_budget(counts_at, dense, remaining, asked)
        except ValueError as error:
            raise ValueError(f'target[{kind!r}]: {error}') from error
        return list(counts.values()), Budget(kind, asked, remaining(counts))

    def _modules(self, scope: Scope) -> dict[str, nn.Module]:
        """Convs and linear layers inside the targets that run and may be written, in order of registration."""
        found = self._modules_of_targets(scope)
        obstacles = unwritable(scope.model, found)
        found = {name: module for name, module in found.items() if name not in obstacles}
        if not found:
            reasons = ''.join(f'; {reason}' for _, reason in obstacles.values())
            raise ConfigError(f'target: no conv or linear layer in it runs and may be pruned{reasons}')
        return found

    def _modules_of_targets(self, scope: Scope) -> dict[str, nn.Module]:
        """Convs and linear layers inside the targets that run and that no pattern keeps."""
        ran = {id(module) for module in layers_that_run(scope).values()}
        found = {name: m for name, m in scope.model.named_modules() if id(m) in ran and is_inside(name, scope.targets)}
        check_patterns(self.keep_patterns, list(found), scope.targets)
        return {name: m for name, m in found.items() if not matches(name, self.keep_patterns, scope.targets)}


def unwritable(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, tuple[int, str]]:
    """Number of weights, and the reason, of those layers whose weights are computed, shared or not their own."""
    plain = PlainLayers(model)
    obstacles = {name: plain.obstacle(module, keys=['weight']) for name, module in layers.items()}
    return {name: (layers[name].weight.numel(), reason) for name, reason in obstacles.items() if reason}


def layers_that_run(scope: Scope) -> dict[str, nn.Module]:
    """Convs and linear layers of the whole model that run on the example, in the order in which they first do."""
    names = {module: name for name, module in scope.model.named_modules()}
    ran: dict[str, nn.Module] = {}

    def record(module: nn.Module, args: tuple, output: Any) -> None:
        ran.setdefault(names[module], module)

    layers = [module for module in names if isinstance(module, (_ConvNd, nn.Linear))]
    with tracing_mode(scope.model), watching(layers, record), torch.no_grad():
        scope.forward(scope.example)
    return ran


def _read_pattern(pattern: str) -> tuple[int, int]:
    parts = pattern.split(':') if isinstance(pattern, str) else ()
    if len(parts) != 2 or not all(part.isdecimal() for part in parts) or not 0 < int(parts[0]) < int(parts[1]):
        raise ValueError(f"pattern: 'N:M' with 0 < N < M, e.g. '2:4', got {pattern!r}")
    return int(parts[0]), int(parts[1])


def pattern_mask(scores: Tensor, most: int, block: int) -> Tensor:
    """Mask that keeps the ``most`` largest of every ``block`` scores along dim 1; what scores 0 does not count."""
    blocks = scores.movedim(1, -1).unflatten(-1, (-1, block))
    first = torch.argsort(blocks, dim=-1, descending=True, stable=True)[..., :most]
    mask = torch.zeros_like(blocks, dtype=torch.bool).scatter_(-1, first, True) & (blocks > 0)
    return mask.flatten(-2).movedim(-1, 1).contiguous()


def _layer(cut: WeightCut, flops: int) -> Layer:
    (module,) = cut.modules
    size = module.weight.numel()
    return Layer(
        name=cut.name,
        width=size,
        shape=tuple(module.weight.shape),
        scores=magnitudes(module).cpu(),
        flops=flops / size,
        alive=cut.alive,
    )


def magnitudes(module: nn.Module) -> Tensor:
    """Importance of every weight, shape ``(n,)``, float64: its absolute value, 0 where it is masked."""
    scores = module.weight.detach().abs().flatten().double()
    mask = getattr(module, MASK, None)
    return scores if mask is None else scores.masked_fill(~mask.flatten(), 0)


def weight_cut(name: str, module: nn.Module) -> WeightCut:
    """The weights of a module, ranked by magnitude, those that are masked last."""
    scores, mask = magnitudes(module), getattr(module, MASK, None)
    if not torch.isfinite(scores).all():
        raise ConfigError(f'load_from: the weights of {name} contain NaN or Inf; check the checkpoint')
    if mask is None:
        return WeightCut(name, module, scores)
    return WeightCut(name, module, scores.masked_fill(~mask.flatten(), -1), int(mask.sum()))

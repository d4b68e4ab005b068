"""Pruning from Python, without config or runner."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import Example
from mmprune.images import ImageSource, as_source
from mmprune.pipeline import Evaluate, Pipeline, seed_everything
from mmprune.pruners.base import Pruner
from mmprune.registry import PRUNERS, RESTORERS, build_part
from mmprune.report.report import Report
from mmprune.restorers.base import Restorer
from mmprune.surgery.plain import copy_of


@torch.inference_mode(False)  # what is made in inference mode could never be trained
def prune(
    model: nn.Module,
    example_input: Example,
    target: str | Sequence[str] = '',
    pruner: str | dict | Pruner = 'ChannelPruner',
    restorer: str | dict | Restorer | None = 'default',
    images: Iterable[object] | ImageSource | None = None,
    evaluate: Evaluate | None = None,
    seed: int = 0,
    dry_run: bool = False,
    clock_s: float = 1.5,
) -> Report:
    """Prune any module in place, and repair it.

    Args:
        model: The network; any ``nn.Module``, mm or not.
        example_input: One batch for it: a tensor (mm models: images of shape (N, C, H, W)), or any other object that
            is the one argument; a tuple of positional or a dict of keyword arguments. Constant images are replaced by
            noise where the network's behaviour is looked at; values that vary are used as they are.
        target: Module path(s) inside which channels or weights may go; '' is the whole model.
        pruner: E.g. ``dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3))``.
        restorer: E.g. ``'LBYL'``; None leaves the network as cut. 'default' is the pruner's own choice, which needs
            no data: ``MomentRestoration`` after anything that prunes a trained network.
        images: Normalised images of shape (N, C, H, W), for parts that want them: batches in a list, a loader or
            whatever can be iterated, one tensor, or an :class:`~mmprune.images.ImageSource`. Labels beside them are
            left out; raw samples of mm data sets go through the model's preprocessor.
        evaluate: Called after every stage; its metrics go into the report.
        seed: Seeds Python, NumPy and torch before anything happens.
        dry_run: Do everything on a copy and leave ``model`` untouched.
        clock_s: How long the dense and the pruned network are timed for the report, in seconds; 0: not at all.

    Returns:
        What happened; ``print(report)`` shows it.

    Raises:
        ConfigError: A mistake in the arguments; the message names it and what would be right.

    Example:
        >>> report = mmprune.prune(torchvision.models.resnet18(), torch.randn(1, 3, 224, 224),
        ...     pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.3)))
        >>> print(report)
    """
    seed_everything(seed)
    pruner = build_part(PRUNERS, pruner, 'pruner')
    restorer = pruner.default_restorer if restorer == 'default' else restorer
    restorer = None if restorer is None else build_part(RESTORERS, restorer, 'restorer')
    if dry_run:
        model = _copy(unwrap(model))
    scope = Scope.of(model, example_input, target)
    images = as_source(images, scope.example, scope.model)
    pipeline = Pipeline(scope, pruner, restorer, evaluate, images, clock_s=clock_s)
    pipeline.report.seed = seed
    pipeline.run()
    return pipeline.report


def _copy(model: nn.Module) -> nn.Module:
    try:
        return copy_of(model)
    except Exception as error:  # whatever a user's attributes raise when they are copied
        told = (str(error).strip().splitlines() or [''])[0]
        raise ConfigError(
            f'dry_run: {type(model).__name__} cannot be copied ({told:.200}); a tensor with a gradient graph that a '
            'hook keeps in an attribute is the usual reason'
        ) from error

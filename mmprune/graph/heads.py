"""Running a detector with its heads as tensors in, tensors out: no ground truth, no boxes but fixed ones."""

from __future__ import annotations

from collections.abc import Callable
from itertools import chain

import torch
from torch import Tensor, nn

from mmprune.graph.tracing import watching

#: Children of a detector that ``extract_feat`` runs, or that hold nothing to prune.
BODY = ('backbone', 'neck', 'data_preprocessor')
#: Sides of the boxes on which RoI heads run, in pixels: one for every level of a feature pyramid.
SIDES = (32, 112, 224, 448)


class HeadError(ValueError):
    """A detector whose heads do not map feature maps to tensors, or not all of them."""


def heads_of(model: nn.Module) -> list[str]:
    """Names of a detector's children that read its features."""
    return [
        name
        for name, child in model.named_children()
        if name not in BODY and next(child.parameters(), None) is not None
    ]


def forward_with_heads(model: nn.Module) -> Callable[[Tensor], list]:
    """The call that runs backbone, neck and every head on images.

    Dense heads run on the feature maps, RoI heads on fixed boxes of :data:`SIDES`. What a head hands on to a part of
    its own (``bbox_feats``) is no output.
    """
    names = heads_of(model)

    def call(images: Tensor) -> list:
        feats = model.extract_feat(images)
        outputs = []
        for name in names:
            head = getattr(model, name)
            if hasattr(head, 'bbox_roi_extractor'):
                outputs += _roi_outputs(head, feats, _boxes(images))
            else:
                outputs.append(_without_feats(head(feats)))
        return outputs

    return call


def check_heads(model: nn.Module, example: Tensor) -> None:
    """Refuse a detector unless every layer of its heads runs on an example.

    What does not run (mask branches that want boxes, layers for training only) may read what would be cut.

    Raises:
        HeadError: With the head and the reason.
    """
    names = heads_of(model)
    ran: set[nn.Module] = set()
    layers = {
        module: name
        for name, module in model.named_modules()
        if name.split('.')[0] in names and next(module.parameters(recurse=False), None) is not None
    }
    kinds = ', '.join(f'{name} ({type(getattr(model, name)).__name__})' for name in names)
    try:
        with torch.no_grad(), watching(list(layers), lambda module, args, out: ran.add(module)):
            forward_with_heads(model)(example)
    except Exception as error:  # whatever the heads of a host raise when they are called without boxes
        told = (str(error).strip().splitlines() or [''])[0]
        raise HeadError(
            f'{kinds} cannot be run as tensors in, tensors out ({type(error).__name__}: {told})'
        ) from error
    idle = [name for module, name in layers.items() if module not in ran]
    if idle:
        raise HeadError(f'{idle[0]} does not run without ground truth or predicted boxes')


def _roi_outputs(head: nn.Module, feats: object, boxes: Tensor) -> list:
    """Outputs of every stage of a RoI head for the boxes, by the head's own methods."""
    outputs = []
    for kind in ('bbox', 'mask'):
        branch = getattr(head, f'{kind}_head', None)
        if branch is None:
            continue
        run = getattr(head, f'_{kind}_forward')
        stages = [(k,) for k in range(len(branch))] if isinstance(branch, nn.ModuleList) else [()]
        outputs += [_without_feats(run(*stage, feats, boxes)) for stage in stages]
    return outputs


def _without_feats(outputs: object) -> object:
    """Outputs without those that a host keeps for its other heads."""
    if isinstance(outputs, dict):
        return {key: value for key, value in outputs.items() if not key.endswith('feats')}
    return outputs


def _boxes(images: Tensor) -> Tensor:
    """Boxes of several sizes on every image: shape (n, 5), image number and corners in pixels."""
    rows = chain.from_iterable(
        ((k, 3 * i, 2 * i, 3 * i + side, 2 * i + side) for i, side in enumerate(SIDES)) for k in range(len(images))
    )
    return images.new_tensor(list(rows))

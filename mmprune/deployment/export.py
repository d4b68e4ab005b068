"""Writing a network as a file that runs without mmprune, and proof that the file computes the same."""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from mmprune.deployment.formats import FORMATS
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import flatten_tensors, tracing_mode
from mmprune.graph.verify import difference
from mmprune.surgery.masking import remove_masks
from mmprune.surgery.plain import copy_of

#: Largest difference of an output, relative to its largest value, between PyTorch and the written file.
TOLERANCE = 1e-4


class ExportError(RuntimeError):
    """A network that cannot be written in a format, or does not compute the same there."""


@dataclass(frozen=True)
class Exported:
    """A written file.

    Attributes:
        path: The file (the folder, for 'pytorch').
        size: Bytes.
        inputs: Shape of the example input.
        outputs: Shapes of the outputs for it.
        error: Largest relative difference to PyTorch over all inputs that were tried.
    """

    path: Path
    size: int
    inputs: tuple[int, ...]
    outputs: tuple[tuple[int, ...], ...]
    error: float


class Plain(nn.Module):
    """A network as tensors in, tensors out: what the scope's forward gives, flattened."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.model, self._forward = scope.model, scope.forward

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Every tensor of the nested outputs, in order."""
        return tuple(flatten_tensors(self._forward(images)))


def export(
    model: nn.Module,
    example: Tensor,
    path: str | Path,
    format: str = 'onnx',
    opset: int = 17,
    dynamic_batch: bool = False,
    forward: Callable[[nn.Module], Callable] | None = None,
    others: Sequence[Tensor] = (),
) -> Exported:
    """Write a network, dense or pruned, and compare the file's outputs with PyTorch's before it gets its name.

    Masks are baked in; batch norms are in eval mode. ``model`` itself is not touched.

    Args:
        model: The network.
        example: Images of shape (N, C, H, W), normalised; decides the input's shape.
        path: Where to; what is there is replaced only by a file that passed the comparison.
        format: One of :data:`~mmprune.deployment.formats.FORMATS`.
        opset: ONNX operator set.
        dynamic_batch: Whether the file takes any batch size.
        forward: Makes the call to write from the network; default: classifiers whole, detectors backbone and neck.
        others: More images to compare on, e.g. real ones; of the example's shape (any N with ``dynamic_batch``).

    Raises:
        ExportError: The network cannot be traced into the format, or the file's outputs differ by more than
            :data:`TOLERANCE`.
    """
    if format not in FORMATS:
        raise ExportError(f'--format: one of {", ".join(FORMATS)}, got {format!r}')
    model = copy_of(model)
    model.eval()  # not chained: backbones of the hosts return None
    remove_masks(model)
    scope = Scope.of(model, example)
    if forward is not None:
        scope.forward = forward(model)
    plain, write, read = Plain(scope).eval(), FORMATS[format].write, FORMATS[format].read
    probe = scope.probe_input()
    if not isinstance(probe, Tensor):
        raise ExportError(f'example: one tensor of images, got {type(probe).__name__}')
    tried = [probe, *(images.to(probe) for images in others)]
    if dynamic_batch:
        tried.append(torch.cat([tried[0], tried[0]]))
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tracing_mode(model),
        torch.no_grad(),
        tempfile.TemporaryDirectory(dir=path.parent, prefix='.export') as folder,
    ):
        expected = [plain(images) for images in tried]
        made = Path(folder) / path.name
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')
                write(plain, tried[0], made, opset, dynamic_batch, len(expected[0]))
            call = read(made)
            got = [call(images) for images in tried]
        except Exception as error:  # exporters raise anything
            reason = (str(error).strip() or 'no reason given').splitlines()[0]
            raise ExportError(
                f'this network cannot be written as {format}: {type(error).__name__}: {reason}'
            ) from error
        deviation = max(difference(want, have) for want, have in zip(expected, got))
        if not deviation <= TOLERANCE:
            raise ExportError(
                f'the {format} file computes something else (relative difference {deviation:.1e}, allowed '
                f'{TOLERANCE:g}); nothing was written'
            )
        size = sum(file.stat().st_size for file in (made.rglob('*') if made.is_dir() else [made]) if file.is_file())
        if path.is_dir():
            shutil.rmtree(path)
        os.replace(made, path)
    shapes = tuple(tuple(out.shape) for out in expected[0])
    return Exported(path, size, tuple(tried[0].shape), shapes, deviation)

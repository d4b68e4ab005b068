"""Judges repairs by what they make of noise, so that one that harms a network can be taken back."""

from __future__ import annotations

import torch
from mmengine.dist import broadcast_object_list
from torch import Tensor

from mmprune.graph.scope import Scope
from mmprune.graph.tracing import real_maps, tracing_mode
from mmprune.images.noise import noise_like
from mmprune.moments.batch_statistics import batch_statistics

#: A repair that leaves so many times the error of plain slicing has not worked. Good ones of single networks reach
#: 1.5 (Neuron Merging of few filters), failed ones 3 and more.
HARMFUL = 2.0
#: Errors below this are small, whatever their quotient.
NEGLIGIBLE = 0.02


class NoiseErrors:
    """Errors of a network's outputs on noise, against what it gave when this was made.

    Batch norms normalise by the batch, so that activations have the scales the network was trained with and the
    noise, of which running statistics know nothing, can tell something. The error is one less the correlation with
    the first outputs, so that neither scale nor shift of an output counts.
    """

    def __init__(self, scope: Scope) -> None:
        """Run the network as it is.

        Args:
            scope: The network.
        """
        self._scope, noise = scope, noise_like(scope.example)
        with tracing_mode(scope.model):  # on the network's device, whatever is the default
            self._input = scope.probe_input() if noise is None else next(iter(noise))
        self._outputs = self._run()

    def error(self) -> float:
        """From 0 (as before) over 1 (nothing in common) to 2; infinite where outputs are no numbers any more."""
        errors = [_error(before, now) for before, now in zip(self._outputs, self._run())]
        return sum(errors) / len(errors) if errors else 0.0

    def _run(self) -> list[Tensor]:
        scope = self._scope
        with torch.random.fork_rng(), tracing_mode(scope.model), torch.no_grad(), batch_statistics():
            torch.manual_seed(0)
            return [output.double() for output in real_maps(scope.forward(self._input))]


def is_harmful(sliced: float, repaired: float) -> bool:
    """True if a repair leaves far larger errors than plain slicing.

    Args:
        sliced: Error of the network that was only sliced.
        repaired: Error of the repaired one.
    """
    return not repaired <= max(HARMFUL * sliced, NEGLIGIBLE)


def agreed(decision: bool) -> bool:
    """The main process's decision, in every process of a distributed run."""
    decisions = [decision]
    broadcast_object_list(decisions)
    return decisions[0]


def _error(before: Tensor, now: Tensor) -> float:
    if before.shape != now.shape or not torch.isfinite(now).all():
        return float('inf')
    axes = [axis for axis in range(before.dim()) if axis != 1] if before.dim() > 2 else [0]
    if sum(before.shape[axis] for axis in axes) == len(axes):  # a single sample has no deviations
        axes = []
    before, now = (value - value.mean(axes, keepdim=True) if axes else value for value in (before, now))
    scale = before.norm() * now.norm()
    return 1 - float((before * now).sum() / scale) if scale > 0 else float(before.norm() > 0)

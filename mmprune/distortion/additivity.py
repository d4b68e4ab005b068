"""Additivity of the distortions of single layers: predicted against true on random allocations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from scipy.stats import pearsonr, spearmanr

from mmprune.distortion.curves import CurveMeasurer, output_errors
from mmprune.distortion.cuts import Cut
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import flatten_tensors, tracing_mode
from mmprune.images.source import ImageSource


@dataclass
class Additivity:
    """Result of :func:`check_additivity`; one entry per random allocation in each list.

    Attributes:
        removed: Share of all units that is gone.
        predicted: Sum of the layers' own distortions.
        measured: Distortion with all layers cut together.
    """

    removed: list[float] = field(default_factory=list)
    predicted: list[float] = field(default_factory=list)
    measured: list[float] = field(default_factory=list)

    def summary(self) -> dict[str, float]:
        """Correlations (of logs for Pearson's) and the median of measured over predicted."""
        predicted, measured = np.maximum(self.predicted, 1e-30), np.maximum(self.measured, 1e-30)
        return {
            'pearson_log': float(pearsonr(np.log(predicted), np.log(measured)).statistic),
            'spearman': float(spearmanr(predicted, measured).statistic),
            'median_ratio': float(np.median(measured / predicted)),
        }

    def to_dict(self) -> dict:
        """Plain data with the summary."""
        return {**self.summary(), **asdict(self)}


def check_additivity(
    cuts: Sequence[Cut],
    scope: Scope,
    measurer: CurveMeasurer,
    images: ImageSource | None = None,
    samples: int = 50,
    max_ratio: float = 0.9,
    seed: int = 0,
) -> Additivity:
    """Cut all layers at once, at random, and compare with the sum of their curves.

    Args:
        cuts: The layers' units.
        scope: The network.
        measurer: Measures the curves; its mean over the images is what adds up.
        images: Calibration images; None: N(0, 1).
        samples: Number of random allocations. Their overall level is drawn evenly up to ``max_ratio``, and every layer
            varies around it.
        max_ratio: Largest share removed from a layer, in (0, 1).
        seed: Seeds the allocations.
    """
    if measurer.worst_case:
        raise ValueError('the worst cases of different layers are different images: use worst_case=False')
    curves = measurer.measure(cuts, scope, images)
    batches = measurer.batches(scope, images)
    rng, result = np.random.default_rng(seed), Additivity()
    with tracing_mode(scope.model), torch.no_grad():
        dense = [[out.clone() for out in flatten_tensors(scope.forward(batch))] for batch in batches]
        for _ in range(samples):
            level = rng.uniform(0, max_ratio)
            ratios = np.clip(level + rng.uniform(-0.2, 0.2, len(cuts)), 0, max_ratio)
            predicted, kept = 0.0, []
            for cut, ratio in zip(cuts, ratios):
                counts, distortion = curves[cut.name]
                point = int(torch.argmin((counts - cut.alive * (1 - ratio)).abs()))
                predicted += float(distortion[point])
                kept.append(int(counts[point]))
            try:
                for cut, count in zip(cuts, kept):
                    cut.shrink(count)
                errors = torch.cat(
                    [
                        output_errors(before, flatten_tensors(scope.forward(batch)))
                        for before, batch in zip(dense, batches)
                    ]
                )
            finally:
                for cut in cuts:
                    cut.restore()
            result.removed.append(1 - sum(kept) / sum(cut.alive for cut in cuts))
            result.predicted.append(predicted)
            result.measured.append(float(errors.mean()))
    return result

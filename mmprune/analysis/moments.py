"""How well MomentRestoration's model knows a network: running variances, activations if there are images."""

from __future__ import annotations

from dataclasses import asdict

import torch

from mmprune.analysis.context import Context
from mmprune.graph.find import find_groups
from mmprune.graph.tracing import tracing_mode
from mmprune.moments import check_moments
from mmprune.report.tables import table

HEAD = ('group', 'rho', 'running variances (r)', 'means (rms, σ)', 'deviations (rel.)', 'correlations (r)', 'remark')


def moments(context: Context) -> tuple[str, dict]:
    """See the module; returns a table to print, and the same as plain data."""
    scope = context.scope
    found = find_groups(scope.model, scope.forward, scope.example, scope.targets)
    with tracing_mode(scope.model), torch.no_grad():
        checks = check_moments([g.site for g in found if g.site], scope.forward, context.images)
    text = table(
        [
            HEAD,
            *(
                (
                    c.name,
                    *map(_cell, (c.rho, c.variance_correlation, c.mean_error, c.std_error, c.covariance_correlation)),
                    c.problem,
                )
                for c in checks
            ),
        ]
    )
    known = [c.variance_correlation for c in checks if c.variance_correlation is not None]
    if known:
        text += (
            f'\npredicted against stored log running variance: r = {sum(known) / len(known):.3f} on average '
            f'over {len(known)} of {len(checks)} groups'
        )
    return text, {'moments': [asdict(c) for c in checks]}


def _cell(value: float | None) -> str:
    return '' if value is None else f'{value:.3f}'

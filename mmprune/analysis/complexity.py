"""Parameters and multiply-adds, in all and per module that has weights of its own."""

from __future__ import annotations

from dataclasses import asdict

from mmprune.analysis.context import Context
from mmprune.measure.complexity import measure, module_flops
from mmprune.report.tables import human, table


def complexity(context: Context) -> tuple[str, dict]:
    """See the module; returns a table to print, and the same as plain data."""
    flops, counts = module_flops(context.scope), measure(context.scope)
    rows, layers = [('module', 'params', 'FLOPs')], []
    for name, module in context.model.named_modules():
        own = sum(p.numel() for p in module.parameters(recurse=False))
        if own:
            rows.append((name, human(own), human(flops.get(name, 0))))
            layers.append({'name': name, 'params': own, 'flops': flops.get(name, 0)})
    rows.append(('total', human(counts.params), human(counts.flops)))
    return table(rows), {**asdict(counts), 'layers': layers}

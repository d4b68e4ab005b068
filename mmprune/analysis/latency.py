"""Dense against pruned, alternating in one process."""

from __future__ import annotations

from dataclasses import asdict

import torch

from mmprune.analysis.context import Context
from mmprune.graph.scope import Scope
from mmprune.graph.tracing import tracing_mode
from mmprune.measure.complexity import measure
from mmprune.measure.latency import measure_latency, ratio
from mmprune.measure.stopwatch import threads
from mmprune.report.tables import human, table


def latency(context: Context) -> tuple[str, dict]:
    """See the module; returns a table to print, and the same as plain data."""
    scope, args = context.scope, context.args
    dense = Scope(context.dense(), scope.example, scope.targets)
    example, calls = scope.probe_input(), {'dense': lambda: dense.forward(example)}
    if args.checkpoint:
        calls['pruned'] = lambda: scope.forward(example)
    with threads(args.threads), tracing_mode(dense.model), tracing_mode(scope.model):
        count = torch.get_num_threads()
        found = measure_latency(calls, args.runs)
    flops = {'dense': measure(dense).flops, 'pruned': measure(scope).flops}
    rows = [('network', 'FLOPs', 'p5 ms', 'p50 ms', 'p95 ms')]
    rows += [
        (name, human(flops[name]), f'{v.p5_ms:.1f}', f'{v.p50_ms:.1f}', f'{v.p95_ms:.1f}') for name, v in found.items()
    ]
    shape = '×'.join(map(str, scope.example.shape))
    text = table(rows) + f'\ninput {shape}, {args.device}, {count} threads, {args.runs} runs each'
    result = {
        'latency': {name: asdict(v) for name, v in found.items()},
        'flops': flops,
        'input_shape': list(scope.example.shape),
        'threads': count,
        'device': args.device,
    }
    if 'pruned' in found:
        result['speedup'] = round(ratio(found, 'dense', 'pruned'), 3)
        result['flops_ratio'] = round(flops['dense'] / flops['pruned'], 3)
        text += f'\n{result["speedup"]:.2f}× faster with {result["flops_ratio"]:.2f}× fewer FLOPs'
    return text, result

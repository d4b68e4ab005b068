"""The page of a run: one self-contained HTML file beside ``report.json``."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from mmprune.images.source import ImageSource
from mmprune.images.store import ImageStore
from mmprune.report.image_grid import plot_grid
from mmprune.report.report import LayerRow, Report
from mmprune.report.svg import svg_curve
from mmprune.report.tables import human, share
from mmprune.storage.files import write_atomically

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:62rem;padding:1rem;color:#1c2529;background:#fff}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.15rem;margin:2rem 0 .5rem}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem}
th,td{padding:.25rem .6rem;text-align:left;border-bottom:1px solid #dde3e6;vertical-align:top}
td.n,th.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.bar{position:relative;display:block;width:9rem;height:.8rem;margin-top:.35rem;background:#e6eaec;border-radius:2px}
.bar i{position:absolute;left:0;top:0;bottom:0;background:#2f6f8f;border-radius:2px}
.note{color:#5a6a72;font-size:.85rem}.warning{background:#fff3d6;border-left:4px solid #d99a00;padding:.5rem .8rem}
img,svg{max-width:100%;height:auto}pre{overflow-x:auto;background:#f4f6f7;padding:.8rem;font-size:.8rem}
figure{margin:1rem 0}figcaption{color:#5a6a72;font-size:.85rem}
.curves{display:flex;flex-wrap:wrap;gap:1rem}.curves figure{flex:1 1 18rem;margin:0}
@media(prefers-color-scheme:dark){body{background:#14191c;color:#e3e9ec}th,td{border-color:#333d42}
.bar,pre{background:#242c30}.warning{background:#3a3016}img{background:#fff}}
</style></head><body>
<h1>$title</h1>
<p>$summary</p>
$sections
</body></html>
""")
SECTION = Template('<section><h2>$title</h2>\n$body\n</section>')
FIGURE = Template(
    '<figure><img alt="$caption" src="data:image/png;base64,$data"><figcaption>$caption</figcaption></figure>'
)
#: Wall time is not in every number of these; so much is said of each stage.
STAGE_NOTE = 'FLOPs are multiply-adds at input $shape; seconds do not count the evaluation.'


def write_html_report(report: Report, work_dir: str | Path, images: ImageSource | None = None) -> Path:
    """Write ``report.html`` of a run: what the report says, the pictures in the work dir, and the curves of training.

    Args:
        report: With at least one stage.
        work_dir: The run's; its pictures (``*.png``) and the scalars that mmengine logged are embedded.
        images: What the run's parts were given; of a set of synthetic images, the first are shown.

    Returns:
        The page.
    """
    work_dir = Path(work_dir)
    pictures = [(path.stem.replace('_', ' '), path.read_bytes()) for path in sorted(work_dir.glob('*.png'))]
    if isinstance(images, ImageStore):
        pictures.append((f'the first of {images.num_images:,} synthetic images', _grid(images)))
    return write_atomically(work_dir / 'report.html', render(report, pictures, read_scalars(work_dir)))


def render(
    report: Report,
    pictures: Sequence[tuple[str, bytes]] = (),
    scalars: Mapping[str, Sequence[tuple[float, float]]] | None = None,
) -> str:
    """The page's text.

    Args:
        report: With at least one stage.
        pictures: Caption and PNG of each.
        scalars: Curves: (step, value) by name.
    """
    dense, last = report.stages[0], report.stages[-1]
    summary = (
        f'{human(dense.params)} → {human(last.params)} parameters, {human(dense.flops)} → {human(last.flops)} '
        f'multiply-adds, {len(report.stages)} stages, '
        f'{sum(stage.seconds for stage in report.stages):.1f} s of work.'
    )
    sections = [
        ('', ''.join(f'<p class="warning">{escape(text)}</p>' for text in report.warnings)),
        ('Stages', _stages(report)),
        (
            'Pictures',
            ''.join(
                FIGURE.substitute(caption=escape(caption, quote=True), data=base64.b64encode(png).decode())
                for caption, png in pictures
            ),
        ),
        ('Curves', _curves(scalars or {})),
        ('Widths', _widths(report.layers)),
        ('Multiply-adds of the layers', _layer_flops(report.extra.get('layer_flops') or {})),
        ('More', _facts({key: value for key, value in report.extra.items() if key != 'layer_flops'})),
        ('Versions', _facts({**report.versions, 'seed': report.seed})),
        (
            'Config',
            f'<details><summary>show</summary><pre>{escape(_config(report.config))}</pre></details>'
            if report.config
            else '',
        ),
    ]
    return PAGE.substitute(
        title=escape(f'Pruned: {report.target or "the whole model"}'),
        summary=escape(summary),
        sections='\n'.join(
            SECTION.substitute(title=escape(title), body=body) if title else body for title, body in sections if body
        ),
    )


def read_scalars(work_dir: str | Path) -> dict[str, list[tuple[float, float]]]:
    """Curves that mmengine logged in a work dir, oldest run first: (step, value) by name."""
    curves: dict[str, dict[float, float]] = {}
    for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # the last line of a killed run
                continue
            for key, value in entry.items() if isinstance(entry, dict) and 'step' in entry else ():
                is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
                if is_number and key not in ('step', 'iter', 'epoch', 'time', 'data_time', 'memory'):
                    curves.setdefault(key, {})[entry['step']] = value
    return {key: sorted(points.items()) for key, points in curves.items() if len(points) > 1}


def _grid(images: ImageStore) -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return plot_grid(images, Path(folder) / 'grid.png', 36).read_bytes()


def _stages(report: Report) -> str:
    keys = list(dict.fromkeys(key for stage in report.stages for key in stage.metrics))
    dense, rows = report.stages[0], []
    for stage in report.stages:
        counts = [
            f'{human(now)} ({share(now, before)})'
            for now, before in (
                (stage.params, dense.params),
                (stage.nonzero_params, dense.nonzero_params),
                (stage.flops, dense.flops),
                (stage.target_flops, dense.target_flops),
            )
        ]
        metrics = [f'{stage.metrics[key]:.4g}' if key in stage.metrics else '' for key in keys]
        rows.append([stage.name, *metrics, *counts, f'{stage.seconds:.1f}', stage.note])
    head = ['stage', *keys, 'parameters', 'non-zero', 'FLOPs', 'FLOPs of the target', 'seconds', 'remark']
    note = Template(STAGE_NOTE).substitute(shape='×'.join(map(str, report.input_shape)))
    return f'{_table(head, rows, numeric=range(1, len(head) - 1))}<p class="note">{escape(note)}</p>'


def _widths(layers: Sequence[LayerRow]) -> str:
    largest = max((row.before for row in layers), default=0)
    rows = [
        [
            row.name,
            f'{row.before} → {row.after}' if row.after != row.before else str(row.before),
            _bar(row.before, row.after, largest),
            '; '.join(text for text in (row.reason, row.repair) if text),
        ]
        for row in layers
    ]
    return _table(['group', 'width', '', 'remark'], rows, numeric=[1], raw=[2]) if rows else ''


def _layer_flops(layers: Mapping[str, Sequence[int]]) -> str:
    largest = max((before for before, _ in layers.values()), default=0)
    rows = [
        [name, human(before), human(now), share(now, before), _bar(before, now, largest)]
        for name, (before, now) in layers.items()
    ]
    return _table(['layer', 'dense', 'now', 'left', ''], rows, numeric=[1, 2, 3], raw=[4]) if rows else ''


def _curves(scalars: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    figures = [
        f'<figure>{svg_curve(points)}<figcaption>{escape(name)}</figcaption></figure>'
        for name, points in scalars.items()
    ]
    return f'<div class="curves">{"".join(figures)}</div>' if figures else ''


def _facts(facts: Mapping[str, object]) -> str:
    rows = [
        [key, json.dumps(value, default=str) if isinstance(value, (dict, list)) else str(value)]
        for key, value in facts.items()
        if value is not None
    ]
    return _table(['', ''], rows) if rows else ''


def _config(config: object) -> str:
    return config if isinstance(config, str) else json.dumps(config, indent=1, default=str)


def _bar(before: float, now: float, largest: float) -> str:
    """A grey bar as long as the dense figure, the part that is left in colour."""
    whole, left = (100 * value / largest if largest else 0 for value in (before, now))
    return (
        f'<span class="bar" style="width:{0.09 * whole:.2f}rem">'
        f'<i style="width:{100 * left / whole if whole else 0:.1f}%"></i></span>'
    )


def _table(
    head: Sequence[str], rows: Iterable[Sequence[str]], numeric: Iterable[int] = (), raw: Iterable[int] = ()
) -> str:
    """A table that scrolls sideways on narrow screens; everything but the ``raw`` columns is escaped."""
    numeric, raw = set(numeric), set(raw)

    def line(cells: Sequence[str], tag: str) -> str:
        return (
            '<tr>'
            + ''.join(
                f'<{tag}{" class=n" if i in numeric else ""}>{cell if i in raw else escape(cell)}</{tag}>'
                for i, cell in enumerate(cells)
            )
            + '</tr>'
        )

    body = '\n'.join(line(cells, 'td') for cells in rows)
    top = f'<thead>{line(head, "th")}</thead>' if any(head) else ''
    return f'<div class="scroll"><table>{top}<tbody>\n{body}\n</tbody></table></div>'

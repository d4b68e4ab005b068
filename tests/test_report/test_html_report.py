"""The page of a run: complete, escaped, and without anything from elsewhere."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import torch
from torch import nn

import mmprune
from mmprune.report.html import read_scalars, render, write_html_report
from mmprune.report.report import LayerRow, Report, Stage
from mmprune.report.svg import svg_curve

EVIL = '<script>alert("1")</script>&'
PNG = b'\x89PNG\r\n\x1a\nnothing'


class Page(HTMLParser):
    """Tags, attributes that name other files, and the text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.text = ''
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)
        if tag not in ('meta', 'img', 'path', 'polyline'):
            self.open.append(tag)
        self.addresses += [value for name, value in attrs if name in ('src', 'href')]

    def handle_startendtag(self, tag: str, attrs: list) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def report() -> Report:
    stages = [
        Stage('dense', 1000, 2000, 1000, 900, 1900, {'accuracy/top1': 93.1}),
        Stage('pruned', 500, 900, 500, 400, 800, {'accuracy/top1': float('nan')}, 1.25, EVIL),
    ]
    layers = [LayerRow('conv1', 16, 8, repair=EVIL), LayerRow(EVIL, 8, 8, reason='kept')]
    return Report(
        stages,
        layers,
        f'x = "{EVIL}"',
        3,
        {'torch': EVIL},
        (1, 3, 8, 8),
        EVIL,
        [EVIL],
        {'layer_flops': {'conv1': [100, 50], EVIL: [10, 0]}, 'synthesis': {'seconds': 3.5, EVIL: 1}},
    )


def test_everything_is_escaped() -> None:
    text = render(report(), [(EVIL, PNG)], {EVIL: [(0, 1.0), (1, 2.0)]})
    page = Page(text)
    assert 'script' not in page.tags and not page.open
    assert EVIL in page.text


def test_nothing_is_loaded_from_elsewhere() -> None:
    text = render(report(), [('picture', PNG)])
    assert all(address.startswith('data:image/png;base64,') for address in Page(text).addresses)
    assert not re.search(r'https?://|@import|url\(', text)


def test_the_page_tells_what_the_report_tells() -> None:
    text = Page(render(report())).text
    for part in ('93.1', '500 (50.0 %)', '16 → 8', 'kept', '1.2', '1×3×8×8', '50.0 %', 'seconds'):
        assert part in text
    assert 'width=device-width' in render(report())


def test_sections_without_content_are_left_out() -> None:
    text = Page(render(Report([Stage('dense', 1, 0, 1)], versions={}))).text
    assert 'Stages' in text
    assert not any(title in text for title in ('Pictures', 'Curves', 'Widths', 'Config', 'More'))


def test_a_pruned_network_has_flops_of_every_layer(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3))
    result = mmprune.prune(
        model,
        torch.zeros(1, 3, 8, 8),
        restorer=None,
        pruner=dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.5)),
    )
    layers = result.extra['layer_flops']
    assert layers['0'] == [36 * 27 * 8, 36 * 27 * 4] and layers['3'] == [16 * 72 * 4, 16 * 36 * 4]
    (tmp_path / 'report.png').write_bytes(PNG)
    page = Page(write_html_report(result, tmp_path).read_text())
    assert page.tags.count('img') == 1 and 'Multiply-adds of the layers' in page.text


def test_curves_of_resumed_runs_are_joined(tmp_path: Path) -> None:
    for name, values in (('1', [(1, 3.0), (2, 2.0)]), ('2', [(2, 1.5), (3, 1.0)])):
        folder = tmp_path / name / 'vis_data'
        folder.mkdir(parents=True)
        lines = [json.dumps(dict(loss=value, step=step, epoch=1, text='a')) for step, value in values]
        (folder / 'scalars.json').write_text('\n'.join([*lines, '{"loss": 1']))
    assert read_scalars(tmp_path) == {'loss': [(1, 3.0), (2, 1.5), (3, 1.0)]}


def test_a_curve_is_drawn_between_its_extremes() -> None:
    numbers = [
        float(x)
        for x in re.search(r'points="([^"]+)"', svg_curve([(0, 1.0), (5, 3.0), (9, 2.0)]))[1].replace(',', ' ').split()
    ]
    x, y = numbers[::2], numbers[1::2]
    assert x == sorted(x) and y.index(min(y)) == 1 and y.index(max(y)) == 0
    assert 'nan' not in svg_curve([(1, 1.0)])
    assert svg_curve([(i, i % 7) for i in range(5000)]).count(',') < 500

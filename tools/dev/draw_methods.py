"""Draw docs/images/methods/*.svg: what each method does, in one picture."""

from __future__ import annotations

import argparse
import math
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from svg import ACCENT, GONE, INK, KEPT, PALE, Drawing  # noqa: E402

FOLDER = Path(__file__).parents[2] / 'docs/images/methods'
REMOVED = (2, 4)


def moment_restoration() -> Drawing:
    """Norms to moments, moments to readers."""
    picture = Drawing(760, 250, 'MomentRestoration')
    for i in range(6):
        y = 50 + 30 * i
        picture.box(20, y, 60, 22, gone=i in REMOVED)
        bell = [
            (100 + 2.5 * k, y + 20 - 18 * math.exp(-(((k - 12 - 2 * (i % 3)) / (4 + i % 2)) ** 2))) for k in range(29)
        ]
        picture.line(bell, stroke=GONE if i in REMOVED else KEPT)
        for j in range(6):
            shade = round(255 - 190 * math.exp(-0.45 * abs(i - j) - 0.25 * ((i + j) % 2)))
            picture.box(
                250 + 26 * j, 56 + 26 * i, 24, 24, f'rgb({shade},{min(255, shade + 25)},{min(255, shade + 35)})'
            )
        if i in REMOVED:
            picture.line([(246, 55 + 26 * i), (246, 81 + 26 * i)], ACCENT, 4)
            picture.line([(249 + 26 * i, 52), (275 + 26 * i, 52)], ACCENT, 4)
        picture.box(500, y, 60, 22, gone=i in REMOVED)
        for j in () if i not in REMOVED else (k for k in range(6) if k not in REMOVED):
            picture.line(
                [(564, y + 11), (592 - 4 * abs(i - j), 61 + 30 * j), (566, 61 + 30 * j)],
                ACCENT,
                2.6 / abs(i - j) + 0.4,
                arrow=True,
            )
    picture.line([(180, 136), (236, 136)], arrow=True)
    picture.line([(418, 136), (490, 136)], arrow=True)
    picture.line([(612, 136), (640, 136)], arrow=True)
    picture.box(648, 86, 96, 100, PALE)
    for k, text in enumerate(('next norm:', 'mean − W t', 'variance ×', 'what is left')):
        picture.text(696, 110 + 20 * k, text)
    for x, text in ((90, 'filters and batch norms'), (328, 'covariance of the activations'), (548, 'next layer')):
        picture.text(x, 30, text, bold=True)
    return picture


def lbyl() -> Drawing:
    """One partner against all partners."""
    picture = Drawing(760, 250, 'Neuron Merging and LBYL')
    for left, title, shares in (
        (40, 'Neuron Merging', {2: {1: 1.0}, 4: {5: 1.0}}),
        (420, 'LBYL', {2: {0: 0.4, 1: 0.9, 3: 0.5, 5: 0.2}, 4: {0: 0.2, 1: 0.3, 3: 0.6, 5: 0.9}}),
    ):
        picture.text(left + 140, 30, title, bold=True)
        for i in range(6):
            picture.box(left, 50 + 30 * i, 80, 22, gone=i in REMOVED)
            picture.box(left + 200, 50 + 30 * i, 80, 22, gone=i in REMOVED)
        for i, partners in shares.items():
            for j, share in partners.items():
                picture.line(
                    [(left + 84, 61 + 30 * i), (left + 194, 61 + 30 * j)], ACCENT, 0.6 + 2.6 * share, arrow=True
                )
        picture.text(left + 40, 244, 'filters')
        picture.text(left + 240, 244, 'columns of the next layer')
    return picture


def dfbf() -> Drawing:
    """Noise, inversion, images, two networks side by side."""
    picture = Drawing(760, 250, 'DFBF')
    draw = random.Random(0)
    for left, smooth in ((20, False), (300, True)):
        for i in range(8):
            for j in range(8):
                wave = 128 + 90 * math.sin(0.5 * i + 1.2 * math.sin(0.6 * j)) + 20 * draw.random()
                value = round(wave) if smooth else draw.randrange(40, 230)
                picture.box(
                    left + 12 * i,
                    78 + 12 * j,
                    12,
                    12,
                    f'rgb({value},{(value + 60) % 230},{230 - value // 2})',
                    radius=0,
                )
    for k in range(4):
        picture.box(160 + 24 * k, 70 + 8 * k, 16, 112 - 16 * k)
        picture.box(500 + 60 * k, 66, 34, 44)
        picture.box(500 + 60 * k + 6, 156, 22, 44, ACCENT)
        picture.line([(517 + 60 * k, 150), (517 + 60 * k, 116)], arrow=True)
        if k < 3:
            picture.line([(534 + 60 * k, 88), (556 + 60 * k, 88)])
            picture.line([(530 + 60 * k, 178), (562 + 60 * k, 178)])
    picture.line([(120, 126), (152, 126)], arrow=True)
    picture.line([(262, 126), (292, 126)], arrow=True)
    picture.line([(400, 118), (440, 118), (440, 88), (492, 88)], arrow=True)
    picture.line([(400, 134), (440, 134), (440, 178), (498, 178)], arrow=True)
    for x, text in ((68, 'noise'), (206, 'dense, its batch norms'), (348, 'synthetic images')):
        picture.text(x, 210, text)
    picture.text(612, 50, 'dense', bold=True)
    picture.text(612, 226, 'pruned: learns every block’s output', bold=True)
    return picture


def rate_distortion() -> Drawing:
    """Three curves and the chosen points of equal slope per cost."""
    picture = Drawing(760, 250, 'RateDistortion')
    for k, (height, decay) in enumerate(((150, 2.2), (110, 4.5), (60, 9.0))):
        left, base, width = 60 + 235 * k, 205, 180
        picture.line([(left, 45), (left, base), (left + width, base)], GONE)
        picture.line(
            [(left + width * t / 60, base - height * math.exp(-decay * t / 60)) for t in range(61)], KEPT, 2.5
        )
        best = math.log(decay * height / 60) / decay
        x, y = left + width * best, base - height * math.exp(-decay * best)
        slope = 60 / width
        picture.line([(x - 40, y - 40 * slope), (x + 40, y + 40 * slope)], ACCENT, 1.5, dashed=True)
        picture.dot(x, y, 6, ACCENT)
        picture.line([(x, y + 8), (x, base)], ACCENT, 1, dashed=True)
        picture.text(left + width / 2, 30, f'layer {k + 1}', bold=True)
        picture.text(left + width / 2, 228, 'units kept')
    picture.parts.append(
        f'<text transform="translate(38 128) rotate(-90)" text-anchor="middle" fill="{INK}">output moves by</text>'
    )
    return picture


def redundancy_graph() -> Drawing:
    """Links, the densest part, what stays."""
    picture = Drawing(760, 250, 'RedundancyGraph')
    places = [(60, 80), (130, 60), (150, 130), (80, 150), (240, 70), (300, 110), (240, 160), (330, 180), (170, 205)]
    links = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), (4, 5), (5, 6), (4, 6), (2, 8), (6, 7)]
    core, strongest = {0, 1, 2, 3}, {1}
    for left, stage in ((0, 0), (390, 1)):
        for i, j in links:
            if stage == 0 or not ({i, j} & (core - strongest)):
                picture.line(
                    [(left + x, y) for x, y in (places[i], places[j])],
                    ACCENT if {i, j} <= core and stage == 0 else GONE,
                    2 if {i, j} <= core else 1.2,
                )
        for i, (x, y) in enumerate(places):
            gone = stage == 1 and i in core - strongest
            picture.dot(left + x, y, 13 if i in strongest else 10, ACCENT if i in core and stage == 0 else KEPT, gone)
    picture.line([(362, 125), (418, 125)], arrow=True)
    picture.text(190, 30, 'filters whose maps look alike are linked', bold=True)
    picture.text(580, 30, 'of the densest part one stays; again', bold=True)
    return picture


def expanders() -> Drawing:
    """A dense layer beside a regular graph of degree 3."""
    picture = Drawing(760, 250, 'Expanders')
    draw = random.Random(3)
    while True:
        shuffles = [draw.sample(range(8), 8) for _ in range(3)]
        if all(len({shuffle[i] for shuffle in shuffles}) == 3 for i in range(8)):
            break
    for left, title, edges in (
        (70, 'dense: 64 kernels', [(i, j) for i in range(8) for j in range(8)]),
        (450, 'expander of degree 3: 24 kernels', [(i, s[i]) for s in shuffles for i in range(8)]),
    ):
        for i, j in edges:
            picture.line(
                [(left, 60 + 24 * i), (left + 220, 60 + 24 * j)], ACCENT if i == 3 else GONE, 1.6 if i == 3 else 0.8
            )
        for i in range(8):
            picture.dot(left, 60 + 24 * i)
            picture.dot(left + 220, 60 + 24 * i)
        picture.text(left + 110, 30, title, bold=True)
        picture.text(left, 250 - 2, 'inputs', size=11)
        picture.text(left + 220, 250 - 2, 'outputs', size=11)
    return picture


PICTURES = (moment_restoration, lbyl, dfbf, rate_distortion, redundancy_graph, expanders)


def main() -> None:
    """Write or check all pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='change nothing; exit 1 if a picture is not current')
    args = parser.parse_args()
    for draw in PICTURES:
        path, text = FOLDER / f'{draw.__name__}.svg', str(draw())
        if args.check and (not path.exists() or path.read_text() != text):
            sys.exit(f'{path}: not current; run python tools/dev/draw_methods.py')
        if not args.check:
            FOLDER.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


if __name__ == '__main__':
    main()

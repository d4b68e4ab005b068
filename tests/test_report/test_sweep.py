"""The picture of a sweep."""

from pathlib import Path

import pytest
import torch

from mmprune.sweeps import Row
from mmprune.sweeps.plot import numeric_key, pareto_front, plot_sweep


@pytest.mark.parametrize('seed', range(30))
def test_nothing_beats_a_point_of_the_front_and_everything_else_is_beaten(seed: int) -> None:
    numbers = torch.randint(1, 9, (1 + seed % 12, 2), generator=torch.Generator().manual_seed(seed))
    found = [tuple(map(float, pair)) for pair in numbers.tolist()]
    front = pareto_front(found)

    def beaten(point: tuple) -> bool:
        return any(other != point and other[0] <= point[0] and other[1] >= point[1] for other in found)

    assert set(front) == {point for point in found if not beaten(point)}
    assert front == sorted(front)


def row(ratio: str, restorer: str, values: list[float], share: float) -> Row:
    shares = dict(params=share, nonzero_params=share, flops=share)
    return Row(dict(restorer=restorer, ratio=ratio), {'accuracy/top1': values} if values else {}, {}, shares)


def test_the_first_key_with_numbers_is_the_axis() -> None:
    rows = [row('0.3', 'LBYL', [80.0], 0.7), row('0.5', 'none', [70.0], 0.5)]
    assert numeric_key(rows) == 'ratio'
    assert numeric_key(rows[:1]) is None


def test_a_picture_is_written(tmp_path: Path) -> None:
    rows = [
        row(ratio, name, values, 1 - float(ratio))
        for ratio in ('0.3', '0.5')
        for name, values in (('LBYL', [80.0, 81.0]), ('none', [70.0]), ('gone', []))
    ]
    assert plot_sweep(rows, 'accuracy/top1', tmp_path / 'a.png').read_bytes().startswith(b'\x89PNG')
    assert plot_sweep(rows[:1], 'accuracy/top1', tmp_path / 'b.png').read_bytes().startswith(b'\x89PNG')
    for row_ in rows:
        row_.shares['latency'] = 0.9 * row_.shares['flops']
    assert plot_sweep(rows, 'accuracy/top1', tmp_path / 'd.png').stat().st_size > (tmp_path / 'a.png').stat().st_size
    with pytest.raises(ValueError, match='accuracy/top1'):
        plot_sweep(rows[2:3], 'accuracy/top1', tmp_path / 'c.png')

"""A run that is killed and resumed ends as one that was not. ``make soak`` does this for longer."""

import random
from pathlib import Path

import pytest

from tests.test_trust import kills


@pytest.mark.slow
def test_killed_runs_end_alike(tmp_path: Path) -> None:
    for name in ('whole', 'killed'):
        (tmp_path / name).mkdir()
    whole = kills.finish(tmp_path / 'whole')
    draw, stages = random.Random(3), []
    while len(stages) < 3 and (at := kills.kill(tmp_path / 'killed', draw, resume=bool(stages))):
        stages.append(at)
    assert stages
    kills.assert_same_end(whole, kills.finish(tmp_path / 'killed', resume=True))

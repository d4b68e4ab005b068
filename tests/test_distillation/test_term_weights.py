"""The twelve ways of weighing supervision points."""

import pytest

from mmprune.distillation import term_weights
from tests.oracles.distillation import WEIGHTS

PUBLISHED = {  # for four points
    0: [1, 1, 1, 1],
    1: [0.25, 0.5, 0.75, 1],
    2: [1.25, 1.5, 1.75, 2],
    3: [2.25, 2.5, 2.75, 3],
    4: [1.5, 2, 2.5, 3],
    5: [1.75, 2.5, 3.25, 4],
    6: [2, 3, 4, 5],
    7: [2.25, 3.5, 4.75, 6],
    8: [2.5, 4, 5.5, 7],
    9: [2.75, 4.5, 6.25, 8],
    10: [3, 5, 7, 9],
    11: [1.5, 3, 4.5, 6],
}


@pytest.mark.parametrize('method', PUBLISHED)
def test_published_vectors(method: int) -> None:
    assert term_weights(method, 4) == pytest.approx(PUBLISHED[method])
    assert term_weights(method, 16) == pytest.approx([WEIGHTS[method](k, 16) for k in range(1, 17)])


@pytest.mark.parametrize('method', [-1, 12, 1.0, True, 'linear', None])
def test_unknown_methods(method: object) -> None:
    with pytest.raises(ValueError, match='weights'):
        term_weights(method, 4)

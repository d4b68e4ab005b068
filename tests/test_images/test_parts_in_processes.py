"""Every part that looks at images makes of several processes what it makes of one, bit by bit."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.dist import get_dist_info
from torch import Tensor, nn

import mmprune
from tests.networks import randomise
from tests.ranks import in_ranks

UNIFORM = dict(type='Uniform', ratio=0.4)
PARTS = {
    'RedundancyGraph': (
        dict(criterion=dict(type='RedundancyGraph', inputs='real', num_images=45, threshold=0.6)),
        None,
    ),
    'its batch statistics': (
        dict(criterion=dict(type='RedundancyGraph', num_images=45, threshold=0.6, batch_statistics=True)),
        None,
    ),
    'MomentOBS': (dict(criterion=dict(type='MomentOBS', moments='images'), allocator=UNIFORM), None),
    'MomentRestoration': (
        dict(criterion='L2Norm', allocator=UNIFORM),
        dict(type='MomentRestoration', moments='images'),
    ),
    'BNRecalibration': (dict(criterion='L2Norm', allocator=UNIFORM), 'BNRecalibration'),
    'with control': (dict(criterion='L2Norm', allocator=UNIFORM), dict(type='BNRecalibration', control=True)),
    'curves': (
        dict(
            criterion='L2Norm',
            allocator=dict(type='RateDistortion', ratio=0.4, curves=dict(cache=False, num_images=20, points=4)),
        ),
        None,
    ),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def network() -> nn.Module:
    return randomise(
        nn.Sequential(
            nn.Conv2d(3, 12, 3, bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(),
            nn.Conv2d(12, 8, 3, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 1),
        )
    ).eval()


def batches(count: int) -> list[Tensor]:
    return list(torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(3)).split([30, count - 30]))


def results(images: list[Tensor]) -> dict[str, dict[str, Tensor]]:
    found = {}
    for name, (pruner, restorer) in PARTS.items():
        torch.manual_seed(0)
        model, example = network(), torch.zeros(1, 3, 16, 16)
        pruner = dict(type='ChannelPruner', **pruner)
        mmprune.prune(model, example, pruner=pruner, restorer=restorer, images=images)
        found[name] = model.state_dict()
    return found


def save(folder: Path) -> None:
    rank, world = get_dist_info()
    both = batches(50), batches(30 + 10 * world)
    own = [both[1][0].chunk(world)[rank], both[1][1].chunk(world)[rank]]
    torch.save([results(both[0]), results(own)], folder / f'{rank}.pt')


@pytest.mark.parametrize('world', [2, 4])
def test_ranks_choose_and_repair_as_one(tmp_path: Path, world: int) -> None:
    in_ranks(partial(save, tmp_path), world, tmp_path)
    joined = [part for batch in batches(30 + 10 * world) for part in batch.chunk(world)]
    alone = [results(batches(50)), results(joined)]
    for rank in range(world):
        for kind, one, several in zip(('same', 'own'), alone, torch.load(tmp_path / f'{rank}.pt')):
            for name in PARTS:
                different = [key for key in one[name] if not torch.equal(one[name][key], several[name][key])]
                assert not different, (rank, kind, name, different)

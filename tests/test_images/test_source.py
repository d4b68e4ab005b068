"""All that gives images keeps one contract: the same images for everybody, or every image for exactly one rank."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.dist import get_dist_info
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, DistributedSampler, IterableDataset, TensorDataset

from mmprune.errors import ConfigError
from mmprune.images import GaussianNoise, ImageSource, as_source
from mmprune.images.calibration import NormalInputs
from tests.ranks import in_ranks


def numbered(*sizes: int, start: int = 0) -> list[Tensor]:
    """Batches of 1×1 images that are their own numbers."""
    return list(torch.arange(start, start + sum(sizes)).float().view(-1, 1, 1, 1).split(list(sizes)))


def numbers(batches: Iterator[Tensor]) -> list[int]:
    return [int(value) for batch in batches for value in batch.flatten()]


def joined(source: ImageSource) -> Tensor:
    return torch.cat(list(source))


@pytest.mark.parametrize(
    'make',
    [
        lambda: numbered(4, 3),
        lambda: torch.cat(numbered(7)),
        lambda: iter(numbered(4, 3)),
        lambda: (batch for batch in numbered(4, 3)),
        lambda: DataLoader(torch.cat(numbered(7)), batch_size=4),
        lambda: DataLoader(torch.cat(numbered(7)), batch_size=4, shuffle=True),
        lambda: DataLoader(torch.cat(numbered(7)), batch_size=4, shuffle=True, generator=torch.Generator()),
    ],
    ids=['list', 'tensor', 'iterator', 'generator', 'loader', 'shuffled loader', 'seeded loader'],
)
def test_what_users_give_comes_the_same_every_time(make: Callable[[], object]) -> None:
    source = as_source(make())
    first = numbers(source.first(5))
    torch.rand(3)
    assert sorted(numbers(source)) == list(range(7)) and numbers(source) == numbers(source)
    assert first == numbers(source)[:5]
    assert as_source(source) is source


def test_looking_at_a_shuffled_loader_draws_no_random_numbers() -> None:
    source = as_source(DataLoader(torch.cat(numbered(7)), shuffle=True))
    before = torch.get_rng_state()
    list(source)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_endless_generator_is_read_as_far_as_it_is_wanted() -> None:
    def endless() -> Iterator[Tensor]:
        while True:
            yield torch.rand(2, 1, 1, 1)

    images = as_source(endless()).first(5)
    assert len(joined(images)) == 5 and torch.equal(joined(images), joined(images))


@pytest.mark.parametrize(
    ('images', 'message'),
    [
        ([], 'empty'),
        (iter([]), 'empty'),
        ([torch.zeros(0, 3, 4, 4)], 'empty'),
        ([torch.zeros(2)], 'like the example input: float32 of shape .N, 3, 4, 4., got float32 .2,'),
        ([('a', 'b')], 'got tuple'),
        ([dict(labels=torch.zeros(2, dtype=torch.long))], 'got int64'),
        ([torch.zeros(2, 3, 4, 4, dtype=torch.uint8)], 'uint8 .*normalise them'),
        ([(torch.zeros(3, 4, 4), 1)], 'single images'),
        ([torch.zeros(2, 1, 4, 4)], 'got float32 .2, 1, 4, 4.'),
        (7, 'got int'),
    ],
)
def test_what_gives_no_images_is_refused(images: object, message: str) -> None:
    with pytest.raises(ConfigError, match=f'images: .*{message}'):
        as_source(images, torch.zeros(1, 3, 4, 4))


IMAGES, LABELS = torch.arange(6.0).reshape(6, 1, 1, 1).expand(6, 3, 4, 4), torch.arange(6)


class Dictionaries(Dataset):
    """Samples under names, labels first."""

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> dict:
        return dict(label=LABELS[index], mask=torch.ones(1, 4, 4), image=IMAGES[index])


class Stream(IterableDataset):
    """Data that come once."""

    def __init__(self) -> None:
        self._left = iter(list(IMAGES))

    def __iter__(self) -> Iterator[Tensor]:
        return self._left


class Once:
    """An iterable that has only one iterator."""

    def __init__(self) -> None:
        self._iterator = iter(IMAGES.split(2))

    def __iter__(self) -> Iterator[Tensor]:
        return self._iterator


class Preprocessor(nn.Module):
    """As mmengine's: stacks raw samples and normalises them."""

    def forward(self, batch: dict, training: bool) -> dict:
        assert not training
        return dict(batch, inputs=torch.stack([image.float() - 1 for image in batch['inputs']]))


class Host(nn.Module):
    """A model with a preprocessor."""

    def __init__(self) -> None:
        super().__init__()
        self.data_preprocessor = Preprocessor()


@pytest.mark.parametrize(
    'make',
    [
        lambda: [(batch, LABELS[:3]) for batch in IMAGES.split(3)],
        lambda: [[LABELS[:3], batch] for batch in IMAGES.split(3)],
        lambda: zip(IMAGES.split(3), LABELS.split(3)),
        lambda: DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4),
        lambda: DataLoader(TensorDataset(LABELS.float(), IMAGES, LABELS), batch_size=4),
        lambda: DataLoader(Dictionaries(), batch_size=4),
        lambda: DataLoader(Stream(), batch_size=4),
        lambda: [dict(meta=dict(size=4), inputs=list(batch)) for batch in IMAGES.split(3)],
        lambda: [(dict(pixel_values=batch, noise=batch + 9), 'text') for batch in IMAGES.split(3)],
        lambda: Once(),
    ],
    ids=['pairs', 'labels first', 'zip', 'loader', 'triples', 'dicts', 'stream', 'lists', 'nested', 'once'],
)
def test_labels_beside_the_images_are_left_out(make: Callable[[], object]) -> None:
    source = as_source(make(), torch.zeros(1, 3, 4, 4))
    for _ in range(3):
        assert torch.equal(joined(source), IMAGES)


@pytest.mark.parametrize('stacked', [False, True])
def test_raw_samples_of_mm_data_sets_are_preprocessed(stacked: bool) -> None:
    raw = IMAGES.to(torch.uint8)
    batch = dict(inputs=raw if stacked else list(raw), data_samples=[None] * 6)
    assert torch.equal(joined(as_source([batch], torch.zeros(1, 3, 4, 4), Host())), IMAGES - 1)


def test_images_that_are_gone_at_the_second_look_are_refused() -> None:
    class Consumed(Once):
        def __iter__(self) -> Iterator[Tensor]:
            yield from self._iterator

    source = as_source(Consumed())
    list(source)
    with pytest.raises(ConfigError, match='images: gave 2 batches and, iterated again, 0'):
        list(source)


def test_images_go_where_the_example_is() -> None:
    source = as_source(numbered(2), torch.zeros(1, 1, 1, 1, dtype=torch.float64))
    assert joined(source).dtype == torch.float64


def test_batches_are_cut_into_equal_parts_and_counted() -> None:
    source = as_source(numbered(30, 30, 9)).first(50)
    assert [len(part) for part in source.share(20)] == [15, 15, 20]
    assert [len(part) for part in source.share()] == [30, 20]
    assert source.num_images == 50 and as_source(numbered(3)).first(50).num_images == 3


def test_reports_say_how_many_and_whether_data_were_used(tmp_path: Path) -> None:
    assert as_source(numbered(3, 2)).first(4).describe() == '4 images, no labels'
    assert GaussianNoise(1000, (3, 4, 4)).describe() == '1,000 Gaussian-noise images, no data'
    assert NormalInputs(torch.zeros(1, 3), 6, 2).first(4).describe() == '4 N(0, 1) inputs, no data'


# ---- several processes ------------------------------------------------------------------------------

SIZES = (5, 1, 7, 30, 4)


def save(value: object, folder: Path) -> None:
    torch.save(value, folder / f'{get_dist_info()[0]}.pt')


def load(folder: Path, world: int) -> list:
    return [torch.load(folder / f'{rank}.pt') for rank in range(world)]


def see_all(folder: Path) -> None:
    rank, world = get_dist_info()
    found = {}
    loader_sampler = DistributedSampler(range(20), shuffle=False, drop_last=False)
    for name, images in {
        'same': numbered(*SIZES),
        'noise': GaussianNoise(9, (1, 1, 1), batch_size=2),
        'own': numbered(*range(1, rank + 2), start=100 * rank),  # more images on later ranks
        'only last': numbered(3, 4) if rank == world - 1 else [],
        'loader': DataLoader(torch.cat(numbered(20)), batch_size=3, sampler=loader_sampler),
    }.items():
        source = as_source(images)
        for kind, seen in (('all', source), ('first', source.first(6))):
            found[name, kind] = joined(seen).flatten()
            found[name, kind, 'share'] = torch.cat([torch.zeros(0), *(part.flatten() for part in seen.share(4))])
        found[name, 'count'] = source.num_images
    save(found, folder)


@pytest.mark.parametrize('world', [2, 4])
def test_every_rank_sees_all_or_its_share(tmp_path: Path, world: int) -> None:
    in_ranks(partial(see_all, tmp_path), world, tmp_path)
    ranks = load(tmp_path, world)
    own = [value for rank in range(world) for value in range(100 * rank, 100 * rank + sum(range(rank + 2)))]
    expected = {
        'same': list(range(sum(SIZES))),
        'own': own,
        'only last': list(range(7)),
        'loader': list(range(20)),
        'noise': joined(GaussianNoise(9, (1, 1, 1), batch_size=2)).flatten().tolist(),
    }
    for name, wanted in expected.items():
        for kind, count in (('all', len(wanted)), ('first', 6)):
            seen = [rank[name, kind] for rank in ranks]
            assert all(torch.equal(other, seen[0]) for other in seen)
            assert len(seen[0]) == min(count, len(wanted)) and set(seen[0].tolist()) <= set(wanted)
            shares = torch.cat([rank[name, kind, 'share'] for rank in ranks])
            assert sorted(shares.tolist()) == sorted(seen[0].tolist())
        assert sorted(ranks[0][name, 'all'].tolist()) == sorted(wanted)
    assert ranks[0]['own', 'count'] == len(own) and ranks[0]['same', 'count'] == sum(SIZES)

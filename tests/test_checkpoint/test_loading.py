"""A pruned checkpoint gives the pruned network or an error, whoever loads it."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmprune
from mmprune import CheckpointError, StructureError
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.record import KEY, structure_of
from mmprune.checkpoint.state import make_strict
from mmprune.surgery.masking import masks


class Network(nn.Module):
    """Two convs with a norm, and a classifier."""

    def __init__(self, width: int = 8, depth: int = 1) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU())
        self.more = nn.Sequential(*(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth)))
        self.fc = nn.Linear(width, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.more(self.first(x)).mean((2, 3)))


EXAMPLE = torch.randn(2, 3, 8, 8)


def loadable(strict: bool = True, **kwargs: int) -> Network:
    model = Network(**kwargs)
    if strict:
        make_strict(model)
    return model.eval()


@pytest.fixture
def pruned(tmp_path: Path) -> tuple[nn.Module, Path]:
    model = Network()
    mmprune.prune(model, EXAMPLE, pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)))
    model.eval()
    return model, mmprune.save(model, tmp_path / 'pruned.pth')


def change(path: Path, structure: object = None, state: object = None) -> None:
    """Rewrite a checkpoint with its structure or its tensors changed by a function."""
    checkpoint = read_checkpoint(path)
    metadata = checkpoint['state_dict']._metadata
    if structure is not None:
        raw = json.loads(metadata[''][KEY])
        changed = structure(raw)
        metadata[''][KEY] = changed if isinstance(changed, str) else json.dumps(raw)
    if state is not None:
        state(checkpoint['state_dict'])
    torch.save(checkpoint, path)


def test_every_way_of_loading_gives_the_pruned_network(pruned: tuple) -> None:
    model, path = pruned
    assert set(read_checkpoint(path)['state_dict']) == set(Network().state_dict())  # the host's keys
    for load in (
        mmprune.load,
        lambda m, p: load_checkpoint(m, str(p)),
        lambda m, p: m.load_state_dict(torch.load(p, weights_only=True)['state_dict']),
    ):
        fresh = loadable()
        load(fresh, path)
        assert torch.equal(fresh(EXAMPLE), model(EXAMPLE))
        assert fresh.first[0].out_channels == 4 and fresh.more[0].in_channels == 4
        load(fresh, path)  # a network that is cut already
        assert torch.equal(fresh(EXAMPLE), model(EXAMPLE))
    fresh = Network().eval()
    mmprune.load(fresh, path)  # any network, prepared or not
    assert torch.equal(fresh(EXAMPLE), model(EXAMPLE))


def test_saving_again_keeps_the_structure(pruned: tuple, tmp_path: Path) -> None:
    model, path = pruned
    checkpoint = copy.deepcopy(load_checkpoint(loadable(), str(path)))  # as mm tools do that publish a model
    torch.save(checkpoint, tmp_path / 'again.pth')
    assert torch.equal(mmprune.load(Network().eval(), tmp_path / 'again.pth')(EXAMPLE), model(EXAMPLE))
    average = ExponentialMovingAverage(model)
    torch.save(average.state_dict(), tmp_path / 'average.pth')
    other = ExponentialMovingAverage(loadable())
    other.load_state_dict(torch.load(tmp_path / 'average.pth', weights_only=True))
    assert torch.equal(other.module.eval()(EXAMPLE), model(EXAMPLE))


def test_dense_checkpoint_in_a_pruned_network(pruned: tuple, tmp_path: Path) -> None:
    path = mmprune.save(Network(), tmp_path / 'dense.pth')
    with pytest.raises(CheckpointError, match=r'first.0.weight: .*\(8, 3, 3, 3\).*\(4, 3, 3, 3\); this network is'):
        load_checkpoint(pruned[0], str(path))


@pytest.mark.parametrize(
    ('other', 'message'),
    [
        (
            dict(width=6),
            r'first.0.weight: the checkpoint holds shape \(8, 3, 3, 3\), the network needs \(6, 3, 3, 3\)',
        ),
        (dict(depth=2), r'another network.*lacks more.1.weight \(and 1 more\)'),
        (dict(depth=0), r'another network.*unknown more.0.weight \(and 1 more\)'),
    ],
)
def test_dense_checkpoint_of_another_network(tmp_path: Path, other: dict, message: str) -> None:
    path = mmprune.save(Network(), tmp_path / 'dense.pth')
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(loadable(**other), str(path))
    with pytest.raises(CheckpointError):
        mmprune.load(Network(**other), path)
    load_checkpoint(loadable(strict=False, **other), str(path))  # the host's rules: what fits


def test_what_old_dense_checkpoints_may_lack_or_have(tmp_path: Path) -> None:
    state = Network().state_dict()
    del state['first.1.num_batches_tracked'], state['first.1.running_mean']
    state['ema_first_0_weight'] = torch.ones(1)
    torch.save(state, tmp_path / 'dense.pth')
    load_checkpoint(loadable(), str(tmp_path / 'dense.pth'))


@pytest.mark.parametrize('other', [dict(width=6), dict(depth=2), dict(depth=0)])
def test_pruned_checkpoint_of_another_network(pruned: tuple, other: dict) -> None:
    for model in (loadable(**other), loadable(strict=False, **other)):
        with pytest.raises((CheckpointError, StructureError), match=r'first.0|more'):
            load_checkpoint(model, str(pruned[1]))


def set_indices(values: object) -> object:
    def change_it(raw: dict) -> None:
        raw['modules']['first.0']['out'] = values

    return change_it


@pytest.mark.parametrize(
    ('structure', 'message'),
    [
        (set_indices([0, 1, 2, 8]), r'first.0.*rise within \[0, 8\)'),
        (set_indices([3, 1, 0, 2]), 'first.0.*rise within'),
        (set_indices([1, 1, 2, 3]), 'first.0.*rise within'),
        (set_indices([-1, 1, 2, 3]), 'first.0.*rise within'),
        (set_indices([0, 1, 2, 2**80]), 'first.0.*rise within'),
        (set_indices([]), 'first.0.*non-empty'),
        (set_indices('all'), 'first.0.*list of indices'),
        (set_indices([0, 1]), r'first.0.weight.*\(4, 3, 3, 3\).*\(2, 3, 3, 3\)'),
        (lambda raw: raw.update(version=2), 'version 2 is unknown'),
        (lambda raw: raw.update(modules=[1]), 'must map module names'),
        (lambda raw: raw['modules'].update({'stem': raw['modules']['first.0']}), "'stem'.*does not have"),
        (lambda raw: raw['modules']['first.0'].update(dense=[16, 3]), r'first.0.*\(16, 3\).*\(8, 3\)'),
        (lambda raw: raw['modules'].update({'first.2': raw['modules']['first.0']}), 'first.2'),
        (lambda raw: '[' * 100_000, 'nested too deep'),
        (lambda raw: '{', 'not a structure'),
    ],
)
def test_wrong_structures(pruned: tuple, structure: object, message: str) -> None:
    change(pruned[1], structure)
    for load in (mmprune.load, lambda m, p: load_checkpoint(m, str(p))):
        model = loadable()
        with pytest.raises((CheckpointError, StructureError), match=message) as caught:
            load(model, pruned[1])
        assert '\n' not in str(caught.value)


def test_tensors_that_do_not_fit_their_structure(pruned: tuple) -> None:
    change(pruned[1], state=lambda state: state.update({'fc.weight': torch.ones(5, 3)}))
    with pytest.raises(CheckpointError, match=r'fc.weight: .*\(5, 3\).*\(5, 4\)'):
        load_checkpoint(loadable(), str(pruned[1]))
    change(pruned[1], state=lambda state: state.pop('fc.weight'))
    with pytest.raises(CheckpointError, match='lacks fc.weight'):
        load_checkpoint(loadable(), str(pruned[1]))


def test_saving_is_atomic(pruned: tuple, monkeypatch: pytest.MonkeyPatch) -> None:
    before = pruned[1].read_bytes()
    monkeypatch.setattr('os.replace', lambda *_: (_ for _ in ()).throw(OSError('disk full')))
    with pytest.raises(OSError, match='disk full'):
        mmprune.save(Network(), pruned[1])
    assert pruned[1].read_bytes() == before
    assert [path.name for path in pruned[1].parent.iterdir()] == ['pruned.pth']


def test_masks_travel_in_the_state_dict(tmp_path: Path) -> None:
    model = Network().eval()
    mmprune.prune(model, EXAMPLE, pruner=dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5)))
    path = mmprune.save(model, tmp_path / 'masked.pth')
    fresh = loadable()
    load_checkpoint(fresh, str(path))
    assert masks(fresh).keys() == masks(model).keys() == {'first.0', 'more.0', 'fc'}
    assert all(torch.equal(mask, masks(model)[name]) for name, mask in masks(fresh).items())
    assert torch.equal(fresh(EXAMPLE), model(EXAMPLE))
    assert structure_of(fresh) is None
    plain = Network().eval()
    load_checkpoint(plain, str(path))  # zeros are zeros: the host's model computes the same
    assert torch.equal(plain(EXAMPLE), model(EXAMPLE))

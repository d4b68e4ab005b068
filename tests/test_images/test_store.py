import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from mmprune.images import DeepInversion, GaussianNoise, ImageStore, PinkNoise
from mmprune.restorers import BNRecalibration
from tests.test_images.small import SHAPE, Classifier, contents, quick, scope_of, trained


@pytest.fixture(scope='module')
def model():
    return trained(Classifier())


@pytest.fixture(scope='module')
def whole(model, tmp_path_factory):
    return quick().prepare(scope_of(model), tmp_path_factory.mktemp('whole'))


@pytest.fixture
def store(whole, tmp_path):
    """A copy to spoil; its root is ``tmp_path``."""
    shutil.copytree(whole.folder, tmp_path / whole.folder.name)
    return ImageStore(tmp_path / whole.folder.name)


def test_batches_and_single_images_are_the_same(whole):
    batches = list(whole)
    assert [tuple(batch.shape) for batch in batches] == [(8, *SHAPE), (8, *SHAPE), (4, *SHAPE)]
    assert len(whole) == 3 and whole.num_images == 20 and whole.complete and whole.is_replicated
    images = torch.cat(batches)
    assert images.dtype == torch.float32
    assert all(torch.equal(whole.image(index), image) for index, image in enumerate(images))
    assert [whole.label(index) for index in range(20)] == [index % 4 for index in range(20)]
    assert all(torch.equal(a, b) for a, b in zip(batches, ImageStore(whole.folder)))
    for index in (-1, 20):
        with pytest.raises(IndexError):
            whole.image(index)


def test_what_is_done_to_an_image_does_not_reach_the_disk(store):
    before = contents(store)
    store.image(3).fill_(7)
    next(iter(store)).fill_(7)
    assert contents(store) == before and not (store.image(3) == 7).all()


def test_the_first_images_and_their_description(whole):
    part = whole.first(11)
    assert [len(batch) for batch in part] == [8, 3]
    assert torch.equal(torch.cat(list(part)), torch.cat(list(whole))[:11])
    assert part.describe() == '11 synthetic images (DeepInversion), no data'
    assert whole.first(21).describe() == whole.describe() == '20 synthetic images (DeepInversion), no data'
    with pytest.raises(IndexError):
        whole.image(20)


def test_stands_wherever_images_are_wanted_and_travels_to_worker_processes(whole):
    norms = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).eval()
    BNRecalibration().restore_model(norms, norms, whole)
    assert norms[0].running_mean.abs().max() > 0
    whole.image(0)
    assert len(pickle.dumps(whole)) < 5000
    assert torch.equal(pickle.loads(pickle.dumps(whole)).image(9), whole.image(9))


def test_a_set_that_is_there_is_not_made_again(model, store, tmp_path, monkeypatch):
    before = contents(store)
    monkeypatch.setattr(DeepInversion, 'step', lambda *args: pytest.fail('worked again'))
    again = quick(root=tmp_path).prepare(scope_of(model), tmp_path / 'another work dir')
    assert again.folder == store.folder and contents(again) == before


@pytest.mark.parametrize('stop_after', [1, 2])
def test_interrupted_it_continues_and_ends_with_the_same_bytes(model, whole, tmp_path, monkeypatch, stop_after):
    calls, step = [], DeepInversion.step

    def dies(self, *args, **kwargs):
        calls.append(0)
        if len(calls) > stop_after * 6 + 3:
            raise KeyboardInterrupt
        return step(self, *args, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(DeepInversion, 'step', dies)
        quick().prepare(scope_of(model), tmp_path)
    (folder,) = (tmp_path / 'synthetic').iterdir()
    half = ImageStore(folder)
    assert not half.complete and half.missing() == list(range(stop_after, 3))
    with pytest.raises(ValueError, match='has not been made yet; run the synthesis again'):
        list(half)
    assert contents(quick().prepare(scope_of(model), tmp_path)) == contents(whole)


def _flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


DAMAGES = {
    'cut off': lambda folder: (folder / 'batch_00001.npy').write_bytes(b'\x93NUMPY'),
    'empty': lambda folder: (folder / 'batch_00001.npy').write_bytes(b''),
    'one bit': lambda folder: _flip_a_bit(folder / 'batch_00001.npy'),
    'gone': lambda folder: (folder / 'batch_00001.npy').unlink(),
    'no facts': lambda folder: (folder / 'batch_00001.json').write_text('{"sha'),
    'another batch': lambda folder: shutil.copy(folder / 'batch_00000.npy', folder / 'batch_00001.npy'),
}


@pytest.mark.parametrize('damage', DAMAGES)
def test_damaged_batches_are_refused_and_made_again(model, whole, store, tmp_path, damage):
    DAMAGES[damage](store.folder)
    spoilt = ImageStore(store.folder)
    assert spoilt.missing() == [1]
    with pytest.raises(ValueError, match='batch_00001.npy.*run the synthesis again'):
        spoilt.image(9)
    assert torch.equal(spoilt.image(0), whole.image(0))
    assert contents(quick(root=tmp_path).prepare(scope_of(model), tmp_path)) == contents(whole)


def test_a_batch_of_another_set_is_refused_even_with_its_checksum(store):
    path = store.folder / 'batch_00001.npy'
    np.save(path, np.zeros((8, 3, 9, 9), np.float32))
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    path.with_suffix('.json').write_text(json.dumps({'sha256': checksum}))
    with pytest.raises(ValueError, match='not of this set'):
        ImageStore(store.folder).check()
    with pytest.raises(ValueError, match='this set wants'):
        store.write(1, torch.zeros(8, 3, 9, 9))


def test_a_set_that_claims_more_than_anybody_makes_is_refused_at_once(store):
    meta = json.loads((store.folder / 'meta.json').read_text())
    for number in (10**12, 10**30):
        (store.folder / 'meta.json').write_text(json.dumps({**meta, 'num_images': number}))
        with pytest.raises(ValueError, match='not a set of synthetic images'):
            ImageStore(store.folder)
        with pytest.raises(ValueError, match=r'^num_images: a whole number in \[1, 10,000,000\]'):
            quick(num_images=number)
    (store.folder / 'meta.json').write_text(json.dumps({**meta, 'num_images': 10**7, 'batch_size': 10**4}))
    assert len(ImageStore(store.folder).missing()) == 1000


def test_foreign_files_do_no_harm_and_a_damaged_meta_is_written_again(model, whole, store, tmp_path):
    (store.folder / 'notes.txt').write_text('mine')
    (store.folder / '.batch_00000.npy.abc').write_bytes(b'half written')
    (store.folder / 'meta.json').write_text('{')
    with pytest.raises(ValueError, match='meta.json'):
        ImageStore(store.folder)
    again = quick(root=tmp_path).prepare(scope_of(model), tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(again, whole)) and again.meta == whole.meta
    with pytest.raises(ValueError, match='not a set of synthetic images'):
        ImageStore(tmp_path / 'nowhere')


@pytest.mark.parametrize(
    'change',
    [
        dict(seed=1),
        dict(flip=True),
        dict(shape=(3, 12, 16)),
        dict(tv2_weight=0.1),
        dict(phases=[dict(iterations=6, jitter=1)]),
        dict(num_images=8),
    ],
)
def test_whatever_decides_the_images_decides_the_name(model, whole, tmp_path, change):
    assert quick(**change).prepare(scope_of(model), tmp_path).folder.name != whole.folder.name


def test_other_weights_and_statistics_give_another_name_and_the_place_does_not(whole, tmp_path):
    changed = trained(Classifier())
    assert quick(root=str(tmp_path)).prepare(scope_of(changed), 'unused').folder == tmp_path / whole.folder.name
    changed.backbone[1].running_var[0] += 1e-6
    assert quick().prepare(scope_of(changed), tmp_path).folder.name != whole.folder.name


def test_a_batch_does_not_depend_on_how_many_there_are(model, whole, tmp_path):
    more = quick(num_images=28).prepare(scope_of(model), tmp_path)
    assert torch.equal(torch.cat(list(more))[:20], torch.cat(list(whole)))
    assert not torch.equal(more.image(0), more.image(8))


@pytest.mark.parametrize('source', [GaussianNoise(50, batch_size=20), PinkNoise(gray=0.5, num_images=7, batch_size=3)])
def test_noise_can_be_kept_on_disk_too(model, tmp_path, source):
    store = source.prepare(scope_of(model), tmp_path)
    expected = list(source.like(torch.zeros(1, *SHAPE)))
    assert len(store) == len(expected) and all(torch.equal(a, b) for a, b in zip(store, expected))
    assert store.num_classes is None
    (store.folder / 'batch_00001.npy').unlink()
    assert all(torch.equal(a, b) for a, b in zip(source.prepare(scope_of(model), tmp_path), expected))
    other = type(source)(num_images=source.num_images, batch_size=source.batch_size, seed=9)
    assert other.prepare(scope_of(model), tmp_path).folder != store.folder

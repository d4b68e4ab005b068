"""With mmprune imported, mmengine reads what is not ours as without it; but nothing runs, and nothing half-loads."""

import contextlib
import io
import json
import pickle
import sys
import types
import urllib.error
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from pickle import UnpicklingError
from unittest import mock

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.infer import BaseInferencer
from mmengine.model import BaseModel, PretrainedInit
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner import checkpoint as host
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import mmprune
from mmprune.checkpoint.config_text import is_only_values
from mmprune.checkpoint.reading import TRUST
from mmprune.errors import CheckpointError, StructureError

#: Where mmprune stands between mmengine and a file.
REPLACED = [
    (host, '_safe_torch_load'),
    (host, 'load_url'),
    (host, 'load_state_dict'),
    (host, '_load_checkpoint_with_prefix'),
    (host, '_process_mmcls_checkpoint'),
    (BaseInferencer, '_init_model'),
    (nn.Module, 'load_state_dict'),
]
URL = 'https://example.org/models/net-1234.pth'
#: Per scheme that mmengine knows: names that lead to the one file, and the names of its copies in the caches.
NAMES = {
    '': ['{folder}/net.pth'],
    'http://': ['http://example.org/models/net-1234.pth'],
    'https://': [URL],
    'torchvision://': ['torchvision://resnet18'],
    'modelzoo://': ['modelzoo://resnet18'],
    'open-mmlab://': ['open-mmlab://published', 'open-mmlab://local'],
    'openmmlab://': ['openmmlab://published', 'openmmlab://local'],
    'mmcls://': ['mmcls://resnet18'],
    'pavi://': ['pavi://someone/net.pth'],
    r'(\S+\:)?s3://': ['s3://bucket/net.pth', 'cluster:s3://bucket/net.pth'],
    r'(\S+\:)?petrel://': ['petrel://bucket/net.pth'],
}
ALL = [name for names in NAMES.values() for name in names]


@contextlib.contextmanager
def without_mmprune() -> Iterator[None]:
    """mmengine as it is by itself."""
    with contextlib.ExitStack() as stack:
        for owner, name in REPLACED:
            stack.enter_context(mock.patch.object(owner, name, getattr(owner, name).__wrapped__))
        yield


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Path]:
    """Puts one content wherever a scheme looks for its file; nothing reaches a network."""
    for variable in ('TORCH_HOME', 'MMENGINE_HOME'):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', lambda *_, **__: pytest.fail('reaches for the network'))
    backend = mock.Mock(get=lambda _: (tmp_path / 'net.pth').read_bytes())
    monkeypatch.setattr(host, 'get_file_backend', lambda *_, **__: backend)
    cloud = mock.Mock()
    cloud.get.return_value.name = 'net.pth'
    cloud.get.return_value.download = lambda path: Path(path).write_bytes((tmp_path / 'net.pth').read_bytes())
    monkeypatch.setitem(sys.modules, 'pavi', types.SimpleNamespace(modelcloud=cloud))
    urls = [URL, host.get_torchvision_models()['resnet18'], host.get_mmcls_models()['resnet18']]

    def put(content: bytes) -> Path:
        cache, home = tmp_path / 'TORCH_HOME' / 'hub' / 'checkpoints', tmp_path / 'MMENGINE_HOME'
        for folder in (cache, home):
            folder.mkdir(parents=True, exist_ok=True)
        for path in (tmp_path / 'net.pth', home / 'local.pth', *(cache / Path(url).name for url in urls)):
            path.write_bytes(content)
        (home / 'open_mmlab.json').write_text(json.dumps({'published': URL, 'local': 'local.pth'}))
        return tmp_path

    return put


def bytes_of(content: object, **options: bool) -> bytes:
    with io.BytesIO() as file:
        torch.save(content, file, **options)
        return file.getvalue()


def network(width: int = 4) -> nn.Module:
    model = nn.Module()
    model.backbone = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))
    model.forward = lambda x: model.backbone(x)
    return model


def foreign() -> dict:
    """What another project may have saved."""
    return {
        'meta': {'epoch': 3, 'cfg': 'import os', 'config': "a = dict(b=[1, -2.5], c='x')", 'numbers': np.arange(3.0)},
        'message_hub': {'runtime_info': {'cfg': 'x = 1'}},
        'state_dict': network().state_dict(),
        'sparse': torch.eye(2).to_sparse(),
        5: (1, None, {'nested': [True]}),
    }


def pruned_network() -> nn.Module:
    model = network()
    pruner = dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5))
    mmprune.prune(model, torch.randn(1, 3, 8, 8), pruner=pruner)
    return model


def pruned() -> bytes:
    return bytes_of({'state_dict': pruned_network().state_dict(), 'meta': {}})


def same(one: object, two: object) -> bool:
    """Equal in types, keys, bits and attributes."""
    if type(one) is not type(two) or getattr(one, '__dict__', None) != getattr(two, '__dict__', None):
        return False
    if isinstance(one, torch.Tensor):
        alike = (one.device, one.dtype, one.shape, one.layout) == (two.device, two.dtype, two.shape, two.layout)
        return alike and (one.is_meta or torch.equal(one.to_dense(), two.to_dense()))
    if isinstance(one, np.ndarray):
        return one.dtype == two.dtype and np.array_equal(one, two)
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(value, two[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(two) and all(map(same, one, two))
    return one == two


def watched(load: Callable[[], object]) -> tuple:
    """What a call returns or raises, and everything that it says on the way."""
    result = error = None
    output = io.StringIO()
    with (
        mock.patch.object(host, 'print_log') as log,
        warnings.catch_warnings(record=True) as caught,
        contextlib.redirect_stdout(output),
    ):
        warnings.simplefilter('always')
        try:
            result = load()
        except Exception as raised:
            error = type(raised), str(raised)
    said = [(item.category, str(item.message)) for item in caught]
    return result, error, [call.args + tuple(call.kwargs.items()) for call in log.mock_calls], said, output.getvalue()


def assert_as_without_mmprune(load: Callable[[], object]) -> tuple:
    with without_mmprune():
        expected = watched(load)
    found = watched(load)
    assert same(found[0], expected[0])
    assert found[1:] == expected[1:]
    return found


# ---- what is not ours ----------------------------------------------------------------------------------------------


def test_every_scheme_of_mmengine_is_looked_at() -> None:
    assert set(NAMES) == set(CheckpointLoader._schemes)
    assert {loader.__module__ for loader in CheckpointLoader._schemes.values()} == {host.__name__}


def test_registering_again_changes_nothing() -> None:
    before = [getattr(owner, name) for owner, name in REPLACED]
    mmprune.register_loaders()
    assert [getattr(owner, name) for owner, name in REPLACED] == before


@pytest.mark.parametrize('location', [None, 'cpu', 'meta', lambda storage, _: storage])
@pytest.mark.parametrize('name', ALL)
def test_checkpoints_of_others(place: Callable, name: str, location: object) -> None:
    content = foreign()
    if location == 'meta':
        del content['sparse']
    for options in ({}, {'_use_new_zipfile_serialization': False}):
        name = name.format(folder=place(bytes_of(content, **options)))
        result, error, log, _, _ = assert_as_without_mmprune(lambda name=name: host._load_checkpoint(name, location))
        assert error is None and log
        tensor = next(iter(result['state_dict'].values()))
        assert tensor.is_meta == (location == 'meta')


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('content', ['tensor', 'list', 'truncated', 'state_dict that is none', 'bare', 'no file'])
def test_odd_files_of_others(place: Callable, name: str, content: str) -> None:
    data = {
        'tensor': bytes_of(torch.ones(2)),
        'list': bytes_of([1, 2]),
        'truncated': bytes_of(foreign())[:2000],
        'state_dict that is none': bytes_of({'state_dict': [1], 'meta': 5}),
        'bare': bytes_of(network().state_dict()),
        'no file': b'',
    }[content]
    folder = place(data)
    if content == 'no file':
        if not name.startswith(('{', 'open')):
            pytest.skip('has no file of its own')
        for path in folder.rglob('*.pth'):
            path.unlink()
        name = name.replace('published', 'local')
    name = name.format(folder=folder)
    assert_as_without_mmprune(lambda: load_checkpoint(network(), name))
    assert_as_without_mmprune(lambda: host._load_checkpoint(name))


@pytest.mark.parametrize('name', ['torchvision://nothing', 'open-mmlab://nothing', 'mmcls://nothing', 'openmmlab://x'])
def test_names_that_lead_nowhere(place: Callable, name: str) -> None:
    place(b'')
    assert assert_as_without_mmprune(lambda: host._load_checkpoint(name))[1][0] is KeyError


@pytest.mark.parametrize('works', [True, False])
def test_downloads(place: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool) -> None:
    place(bytes_of(foreign()))
    calls = []

    def fetch(*args: object, **kwargs: object) -> None:
        calls.append((args, kwargs))
        if not works:
            raise urllib.error.URLError('no route')
        Path(args[1]).write_bytes((tmp_path / 'net.pth').read_bytes())

    monkeypatch.setattr(torch.hub, 'download_url_to_file', fetch)

    def load(**options: object) -> object:
        for folder in (tmp_path / 'TORCH_HOME' / 'hub' / 'checkpoints', tmp_path / 'own'):
            (folder / Path(URL).name).unlink(missing_ok=True)
        return host.load_from_http(URL, map_location='cpu', **options)

    for options in ({}, {'model_dir': str(tmp_path / 'own'), 'progress': True}):
        _, error, _, _, output = assert_as_without_mmprune(lambda options=options: load(**options))
        assert (error is None) == works and 'Downloading' in output
    assert calls[0] == calls[1] and calls[2] == calls[3] and len(calls) == 4


def test_parts_of_networks_of_others(place: Callable) -> None:
    folder = place(bytes_of(foreign()))
    for prefix in ('backbone', 'backbone.', 'neck'):
        assert_as_without_mmprune(lambda p=prefix: host._load_checkpoint_with_prefix(p, str(folder / 'net.pth')))

    def initialised() -> dict:
        part = network().backbone
        PretrainedInit(str(folder / 'net.pth'), prefix='backbone')(part)
        return part.state_dict()

    assert_as_without_mmprune(initialised)


# ---- code ----------------------------------------------------------------------------------------------------------


class Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return Path.touch, (self.target,)


@pytest.mark.parametrize('name', ALL)
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'pickle'])
def test_no_scheme_runs_code(place: Callable, tmp_path: Path, name: str, kind: str) -> None:
    target = tmp_path / 'executed'
    content = {'state_dict': network().state_dict(), 'meta': Trap(target)}
    place(
        pickle.dumps(content) if kind == 'pickle' else bytes_of(content, _use_new_zipfile_serialization=kind == 'zip')
    )
    name = name.format(folder=tmp_path)
    for load in (host._load_checkpoint, lambda name: load_checkpoint(network(), name)):
        with pytest.raises(CheckpointError) as caught:
            load(name)
        assert not target.exists() and '\n' not in str(caught.value)
    if kind != 'pickle':
        assert TRUST in str(caught.value) and 'could execute code' in str(caught.value)
        with without_mmprune(), contextlib.suppress(EOFError, UnpicklingError):  # streams are read but once
            host._load_checkpoint(name)
        assert target.exists() or 's3:' in name or 'petrel:' in name  # the trap is one


def test_who_vouches_gets_what_mmengine_does(place: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TRUST, '1')
    place(bytes_of({'meta': Path('somewhere')}))
    for name in (str(tmp_path / 'net.pth'), URL):
        with pytest.warns(UserWarning, match='is run with your rights'):
            assert host._load_checkpoint(name) == {'meta': Path('somewhere')}


class Model(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs: torch.Tensor, mode: str = 'loss') -> dict:
        return dict(loss=self.layer(inputs).sum())


def resume(path: Path, work_dir: Path) -> Runner:
    runner = Runner(
        Model(),
        str(work_dir),
        train_dataloader=dict(
            dataset=[torch.ones(1)] * 2, sampler=dict(type='DefaultSampler'), batch_size=2, num_workers=0
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        load_from=str(path),
        resume=True,
        log_level='ERROR',
        experiment_name=f'{work_dir.name}{len(str(path))}{np.random.rand()}',
    )
    runner.train()
    return runner


@pytest.mark.parametrize('is_code', [True, False])
def test_a_config_inside_is_not_executed_on_resuming(tmp_path: Path, is_code: bool) -> None:
    config = f'open({str(tmp_path / "executed")!r}, "w")' if is_code else "gpu_ids = [0]\nmodel = dict(type='X')\n"
    meta = {'epoch': 1, 'iter': 1, 'config': config}
    path = tmp_path / 'net.pth'
    hub = dict(log_scalars={}, runtime_info={}, resumed_keys={})
    torch.save({'state_dict': Model().state_dict(), 'meta': meta, 'message_hub': hub}, path)
    assert resume(path, tmp_path / 'run').epoch == 1
    assert host._load_checkpoint(str(path))['meta'] == (meta if not is_code else {'epoch': 1, 'iter': 1})
    assert not (tmp_path / 'executed').exists()
    with without_mmprune():
        resume(path, tmp_path / 'host')
    assert (tmp_path / 'executed').exists() == is_code


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'a = open("x")',
        'a = dict(b=print())',
        'a = [].append',
        'a = [print for b in c]',
        'a = lambda: 0',
        'a.b = 1',
        "a = f'{print()}'",
        "_base_ = 'other.py'",
        "custom_imports = dict(imports=['antigravity'])",
        "a = '{{ $HOME:x }}'",
        'dict = print\ndict("x")',
        'a = (dict := 1)',
        'def dict(): pass',
        'a: print() = 1',
        '(' * 10**4,
        'a = ' + '[' * 10**5,
        '\0',
        'a = 1 if b else 2',
    ],
)
def test_texts_that_do_more_than_assign_values(text: str) -> None:
    assert not is_only_values(text)


def test_configs_as_mmengine_writes_them_are_only_values() -> None:
    cfg = Config(dict(a=1, b=dict(c=[-1.5, None, True, 'x'], d=(1,), e={'not-a-name': {1: 2}}), f="it's"))
    assert is_only_values(cfg.pretty_text)


class Inferencer(BaseInferencer):
    def _init_pipeline(self, cfg: ConfigDict) -> Callable:
        return lambda x: x

    def visualize(self, inputs: list, preds: object, **kwargs: object) -> None:
        """Nothing to see."""

    def postprocess(self, preds: object, visualization: object, **kwargs: object) -> object:
        return preds


def test_an_inferencer_does_not_execute_the_config_in_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even names and values run code: mmengine calls whatever `type` names, registered or not."""
    config = f"model = dict(type='os.mkdir', path={str(tmp_path / 'executed')!r})"
    torch.save({'meta': {'cfg': config}, 'state_dict': {}}, tmp_path / 'net.pth')
    with pytest.raises(CheckpointError, match='give the config file'):
        Inferencer(weights=str(tmp_path / 'net.pth'), device='cpu', scope='mmengine')
    assert not (tmp_path / 'executed').exists()
    for vouched in (False, True):
        with contextlib.ExitStack() as stack, contextlib.suppress(Exception):
            if vouched:
                monkeypatch.setenv(TRUST, '1')
            else:
                stack.enter_context(without_mmprune())
            Inferencer(weights=str(tmp_path / 'net.pth'), device='cpu', scope='mmengine')
        assert (tmp_path / 'executed').exists()
        (tmp_path / 'executed').rmdir()


# ---- pruned networks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', ALL)
def test_every_scheme_hands_on_the_structure(place: Callable, name: str) -> None:
    saved = pruned_network()
    folder = place(bytes_of({'state_dict': saved.state_dict(), 'meta': {}}))
    model = network()
    part = model.backbone if name.startswith('mmcls') else model  # takes the backbone out
    load_checkpoint(part, name.format(folder=folder))
    assert same(dict(model.state_dict()), dict(saved.state_dict()))


@pytest.mark.parametrize('prefix', ['module', 'model'])
def test_a_pruned_network_whose_keys_are_renamed(tmp_path: Path, prefix: str) -> None:
    """mmengine renames tensors, and leaves the names of the modules beside them."""
    wrapper = nn.Module()
    wrapper.add_module(prefix, pruned_network())
    torch.save(wrapper.state_dict(), tmp_path / 'net.pth')
    model = network()
    with contextlib.nullcontext() if prefix == 'module' else pytest.raises(StructureError, match='does not have'):
        load_checkpoint(model, str(tmp_path / 'net.pth'), revise_keys=[(rf'^{prefix}\.', '')])
    assert model.backbone[0].out_channels == (2 if prefix == 'module' else 4)


def test_one_checkpoint_for_two_models(place: Callable) -> None:
    checkpoint = host._load_checkpoint(str(place(pruned()) / 'net.pth'))
    for model in (network(), network()):
        host.load_state_dict(model, checkpoint['state_dict'])
        assert model.backbone[0].out_channels == 2


def test_a_part_of_a_pruned_network_takes_its_structure(place: Callable) -> None:
    saved = pruned_network()
    path = str(place(bytes_of({'state_dict': saved.state_dict(), 'meta': {}})) / 'net.pth')
    for prefix in ('backbone', 'backbone.'):
        part = network().backbone
        PretrainedInit(path, prefix=prefix)(part)
        assert same(dict(part.state_dict()), dict(saved.backbone.state_dict()))
    with pytest.raises(CheckpointError, match='neck'):
        PretrainedInit(path, prefix='neck')(network().backbone)
    with pytest.raises(StructureError, match="prefix='backbone.'"):
        PretrainedInit(path)(network().backbone)


@pytest.mark.parametrize('name', ['{folder}/net.pth', URL, 's3://bucket/net.pth'])
def test_a_damaged_pruned_network_is_refused(place: Callable, name: str) -> None:
    data = bytearray(pruned())
    at = bytes(data).rindex(
        mmprune.checkpoint.read_checkpoint(io.BytesIO(bytes(data)))['state_dict']['backbone.0.weight']
        .numpy()
        .tobytes()
    )
    data[at + 3] ^= 16
    name = name.format(folder=place(bytes(data)))
    with pytest.raises(CheckpointError, match='does not match its checksum'):
        host._load_checkpoint(name)

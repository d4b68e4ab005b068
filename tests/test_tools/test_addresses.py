"""Every tool takes a checkpoint from wherever mmengine does, and sees the same weights as in a file."""

import json
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import checkpoint as host

import mmprune
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.engine import has_weights
from mmprune.registry import MODELS
from tests.test_engine import tiny
from tests.test_tools.test_bad_input import error_of

URL = 'https://example.com/models/tiny-1234.pth'
ADDRESSES = [URL, 'torchvision://resnet18', 'open-mmlab://published']
QUICK = "\npruning['evaluate'] = False\npruning['restorer'] = 'MomentRestoration'\n"


@pytest.fixture
def weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file with weights of the tiny network, in the caches of all addresses, too; nothing reaches a network."""
    for variable in ('TORCH_HOME', 'MMENGINE_HOME'):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    cache, home = tmp_path / 'TORCH_HOME' / 'hub' / 'checkpoints', tmp_path / 'MMENGINE_HOME'
    init_default_scope('mmpretrain')
    cfg = tiny.config(tmp_path)
    torch.manual_seed(5)
    model = MODELS.build(cfg.model)
    model.init_weights()
    path = mmprune.save(model, tmp_path / 'dense.pth')
    for folder in (cache, home):
        folder.mkdir(parents=True)
    for url in (URL, host.get_torchvision_models()['resnet18']):
        (cache / Path(url).name).write_bytes(path.read_bytes())
    (home / 'open_mmlab.json').write_text(json.dumps({'published': URL}))
    with mock.patch('torch.hub.download_url_to_file', side_effect=urllib.error.URLError('no route to host')):
        yield path


@pytest.mark.parametrize('address', ADDRESSES)
def test_every_tool_reads_every_address(
    tmp_path: Path, weights: Path, address: str, capsys: pytest.CaptureFixture
) -> None:
    seen = {}
    for source in (weights, address):
        folder = tmp_path / ('file' if source is weights else 'address')
        config = tiny.write_config(folder, QUICK + f'load_from = {str(source)!r}\n')
        plain = tiny.write_config(folder, QUICK, 'plain.py')
        capsys.readouterr()
        tiny.call('prune', config, '--dry-run')
        shown = capsys.readouterr().out
        tiny.call('prune', config, '--work-dir', folder / 'run')
        tiny.call('analyze', 'moments', config, '--out', folder / 'config.json')
        tiny.call('analyze', 'moments', plain, source, '--out', folder / 'argument.json')
        tiny.call('test', plain, source, '--work-dir', folder / 'test')
        tiny.call('export', plain, source, '--format', 'torchscript', '--out', folder / 'net.pt')
        exported = torch.jit.load(str(folder / 'net.pt'))
        seen[folder.name] = (
            [line for line in shown.splitlines() if line.startswith('backbone')],
            {key: value.tolist() for key, value in read_checkpoint(folder / 'run/pruned.pth')['state_dict'].items()},
            json.loads((folder / 'config.json').read_text()),
            json.loads((folder / 'argument.json').read_text()),
            tiny.metrics(folder / 'test'),
            [value.tolist() for value in exported.state_dict().values()],
        )
        assert 'INITIAL' not in shown
    for one, other in zip(seen['file'], seen['address'], strict=True):
        assert one == other


@pytest.mark.parametrize('tool', [['prune', '--dry-run'], ['prune'], ['train']])
def test_what_is_out_of_reach_is_one_line(
    tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture, tool: list[str]
) -> None:
    address = 'https://example.com/models/unknown.pth'
    config = tiny.write_config(tmp_path, QUICK + f'load_from = {address!r}\n')
    line = error_of(capsys, tool[0], config, *tool[1:], '--work-dir', tmp_path / 'run')
    assert line.startswith(f'error: load_from: {address}: neither in ') and 'no route to host' in line


def test_looking_at_sizes_needs_no_weights(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture) -> None:
    config = tiny.write_config(tmp_path, QUICK + "load_from = 'https://example.com/models/unknown.pth'\n")
    tiny.call('analyze', 'complexity', config)
    assert 'looking at the initial weights' in capsys.readouterr().err
    assert 'load_from: https://example.com' in error_of(capsys, 'analyze', 'moments', config)


def test_data_out_of_reach_are_one_line(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture) -> None:
    data = f"dict(type='CIFAR10', data_root={str(tmp_path / 'data')!r}, split='test', pipeline=[])"
    extra = f"test_dataloader['dataset'] = {data}\nload_from = {str(weights)!r}\n"
    with mock.patch('urllib.request.urlopen', side_effect=urllib.error.URLError('no route to host')):
        line = error_of(capsys, 'train', tiny.write_config(tmp_path, extra), '--work-dir', tmp_path / 'run')
    assert line.startswith('error: test_dataloader.dataset: CIFAR10 is not in data_root=') and 'no route' in line


def test_weights_that_a_part_of_the_model_loads_are_weights(tmp_path: Path) -> None:
    cfg = tiny.config(tmp_path)
    assert not has_weights(cfg)
    cfg.model.backbone.init_cfg = dict(type='Pretrained', checkpoint='torchvision://resnet18')
    assert has_weights(cfg)


def test_a_dry_run_knows_weights_of_init_cfg(tmp_path: Path, weights: Path, capsys: pytest.CaptureFixture) -> None:
    extra = f"model['init_cfg'] = dict(type='Pretrained', checkpoint={str(weights)!r})\n"
    tiny.call('prune', tiny.write_config(tmp_path, QUICK + extra), '--dry-run')
    assert 'INITIAL' not in capsys.readouterr().out
    tiny.call('prune', tiny.write_config(tmp_path, QUICK), '--dry-run')
    assert 'INITIAL' in capsys.readouterr().out

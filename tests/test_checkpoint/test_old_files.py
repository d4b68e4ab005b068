"""Files that earlier versions wrote stay valid: their formats, literally."""

import json
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmengine.runner import load_checkpoint
from torch import Tensor, nn

import mmprune
from mmprune.checkpoint import Structure, read_checkpoint, structure_of
from mmprune.surgery.masking import masks
from tests.test_engine import tiny

STRUCTURE = (
    '{"version":1,"modules":{"0":{"dense":[4,3],"out":[0,2,3]},"1":{"dense":[4,4],"out":[0,2,3]},'
    '"2":{"dense":[2,4],"in":[0,2,3]}}}'
)
LOADERS = [mmprune.load, lambda model, path: load_checkpoint(model, str(path))]


def network(width: int = 4) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 2, 1))


def metadata(model: nn.Module, structure: str | None) -> OrderedDict:
    found = OrderedDict({name: {'version': 2 if name == '1' else 1} for name, _ in model.named_modules()})
    if structure is not None:
        found['']['mmprune'] = structure
    return found


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('legacy', [False, True])
def test_a_pruned_checkpoint(tmp_path: Path, load: Callable, legacy: bool) -> None:
    narrow = network(3).eval()
    state = OrderedDict(narrow.state_dict())
    state._metadata = metadata(narrow, STRUCTURE)
    content = {'meta': {'note': 'old'}, 'state_dict': state}
    torch.save(content, tmp_path / 'old.pth', _use_new_zipfile_serialization=not legacy)
    model = network().eval()
    load(model, tmp_path / 'old.pth')
    x = torch.randn(1, 3, 6, 6)
    assert torch.equal(model(x), narrow(x))
    assert structure_of(model).to_json() == STRUCTURE
    again = read_checkpoint(mmprune.save(model, tmp_path / 'new.pth', {'note': 'old'}))
    assert list(again) == ['meta', 'state_dict'] and again['meta'] == {'note': 'old'}
    assert again['state_dict']._metadata[''] == {'version': 1, 'mmprune': STRUCTURE}
    assert list(again['state_dict']) == list(state)


def test_the_record_of_kept_channels() -> None:
    structure = Structure.from_json(STRUCTURE)
    assert structure.modules['2'].dense == (2, 4) and structure.modules['2'].outputs is None
    assert structure.modules['2'].inputs.tolist() == [0, 2, 3]


@pytest.mark.parametrize('load', LOADERS)
@pytest.mark.parametrize('name', ['weight_mask', 'weight_trained_mask'])
def test_a_checkpoint_with_masks(tmp_path: Path, load: Callable, name: str) -> None:
    dense = network()
    state: OrderedDict[str, Tensor] = OrderedDict(dense.state_dict())
    state._metadata = metadata(dense, None)
    mask = torch.arange(4 * 27).reshape(4, 3, 3, 3) % 2 == 0
    state[f'0.{name}'] = mask
    state['0.weight'] = state['0.weight'] * mask
    torch.save({'meta': {}, 'state_dict': state}, tmp_path / 'old.pth')
    model = network()
    load(model, tmp_path / 'old.pth')
    assert torch.equal(model.state_dict()[f'0.{name}'], mask)
    assert (name == 'weight_mask') == ('0' in masks(model))


def test_a_half_finished_run_needs_no_more_than_earlier_versions_wrote(tmp_path: Path) -> None:
    config = tiny.write_config(
        tmp_path,
        """
pruning.update(finetune=True, evaluate=False, schedule=dict(type='linear', steps=2))
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
train_cfg.update(max_epochs=3)
custom_hooks = [dict(type='mmengine.EMAHook', momentum=0.1)]
""",
    )
    tiny.call('train', config, '--work-dir', tmp_path / 'whole')
    checkpoint = read_checkpoint(tmp_path / 'whole' / 'epoch_1.pth')
    meta = checkpoint['meta']
    meta['mmprune'] = {key: meta['mmprune'][key] for key in ('report', 'step', 'widths', 'seconds')}
    kept = ('seed', 'experiment_name', 'epoch', 'iter', 'cfg', 'dataset_meta', 'time', 'mmengine_version', 'mmprune')
    checkpoint['meta'] = {key: meta[key] for key in kept}
    names = ('state_dict', 'message_hub', 'optimizer', 'param_schedulers', 'ema_state_dict', 'meta')
    (tmp_path / 'half').mkdir()
    torch.save({key: checkpoint[key] for key in names}, tmp_path / 'half' / 'epoch_1.pth')
    (tmp_path / 'half' / 'last_checkpoint').write_text('/somewhere/else/epoch_1.pth')
    (tmp_path / 'half' / '.lock').write_text('process 1 on elsewhere')
    tiny.call('train', config, '--work-dir', tmp_path / 'half', '--resume')
    tiny.assert_same_run(tmp_path / 'whole' / 'epoch_3.pth', tmp_path / 'half' / 'epoch_3.pth')
    stages = [stage['name'] for stage in json.loads((tmp_path / 'half' / 'report.json').read_text())['stages']]
    assert stages == ['dense', 'pruned', 'pruned', 'finetuned']

"""Grids: how values are read, what each cell changes in the config, and that nothing leaks between parts."""

import re

import pytest
from mmengine.config import Config

from mmprune.engine import prepare_config
from mmprune.errors import ConfigError
from mmprune.sweeps import cells_of, option_text, parse_grid
from tests.test_engine import tiny

LBYL = "\npruning['restorer'] = dict(type='LBYL', lambda1=0.5, lambda2=0.25)\n"


def config(extra: str = LBYL) -> Config:
    return Config.fromstring(tiny.CONFIG + extra, file_format='.py')


def restorers(grid: list[str], common: dict | None = None, extra: str = LBYL) -> list[object]:
    return [cell.config.pruning.restorer for cell in cells_of(config(extra), parse_grid(grid), common)]


@pytest.mark.parametrize(
    ('text', 'values'),
    [
        ('a=0.1,2,1e-3', [0.1, 2, 1e-3]),
        ('a.b.c=true,none,None', [True, None]),
        ('a=[1,2],[3]', [[1, 2], [3]]),
        ('a=x, y', ['x', 'y']),
        ("a={'type': 'X', 'b': 1},none", [{'type': 'X', 'b': 1}, None]),
        ('a=0.3,0.30', [0.3]),
    ],
)
def test_values_are_read_as_options_are(text: str, values: list) -> None:
    assert list(parse_grid([text]).values()) == [values]


@pytest.mark.parametrize(
    'texts', [['a'], ['=1'], ['a='], ['a=1,,2'], ['a=[1,2'], ['a=1', 'a=2'], ['a b=1'], ["a={'x'"], ['a={x: 1}']]
)
def test_other_texts_are_refused(texts: list[str]) -> None:
    with pytest.raises(ConfigError, match='--grid'):
        parse_grid(texts)


def test_cells_are_all_combinations() -> None:
    grid = parse_grid(['pruning.pruner.allocator.ratio=0.3,0.5', 'pruning.restorer.type=LBYL,none'])
    cells = cells_of(config(), grid)
    assert [tuple(cell.labels.items()) for cell in cells] == [
        (('ratio', ratio), ('restorer', name)) for ratio in ('0.3', '0.5') for name in ('LBYL', 'none')
    ]
    assert len({cell.name for cell in cells}) == 4
    assert [cell.config.pruning.pruner.allocator.ratio for cell in cells] == [0.3, 0.3, 0.5, 0.5]


def test_a_cell_keeps_its_folder_when_the_grid_changes() -> None:
    ratio, restorer = 'pruning.pruner.allocator.ratio', 'pruning.restorer.type'
    first = cells_of(config(), parse_grid([f'{restorer}=LBYL', f'{ratio}=0.3']))
    second = cells_of(config(), parse_grid([f'{ratio}=0.1,0.3', f'{restorer}=LBYL,none']))
    assert first[0].name in [cell.name for cell in second]


def test_another_type_does_not_inherit_arguments() -> None:
    own, merging, off = restorers(['pruning.restorer.type=LBYL,NeuronMerging,none'])
    assert own == dict(type='LBYL', lambda1=0.5, lambda2=0.25)
    assert merging == dict(type='NeuronMerging')
    assert off is None


def test_options_of_all_cells_reach_only_the_part_they_are_for() -> None:
    own, merging, off = restorers(
        ['pruning.restorer.type=LBYL,NeuronMerging,none'], {'pruning.restorer.lambda1': 0.125}
    )
    assert own.lambda1 == 0.125
    assert merging == dict(type='NeuronMerging') and off is None


def test_a_part_that_the_config_does_not_have_can_be_chosen() -> None:
    assert restorers(['pruning.restorer.type=NeuronMerging,none'], extra='') == [dict(type='NeuronMerging'), None]


def test_whole_parts_as_values() -> None:
    found = restorers(["pruning.restorer={'type': 'LBYL', 'lambda1': 0.75},{'type': 'NeuronMerging'},none"])
    assert found == [dict(type='LBYL', lambda1=0.75), dict(type='NeuronMerging'), None]


def test_an_argument_is_varied_inside_a_part() -> None:
    assert [part.lambda1 for part in restorers(['pruning.restorer.lambda1=0.1,0.2'])] == [0.1, 0.2]


@pytest.mark.parametrize(
    ('grid', 'message'),
    [
        (['pruning.pruner.alocator.ratio=0.3'], "pruning.pruner.alocator: unknown, did you mean 'allocator'"),
        (['pruning.pruner.allocator.ratio=0.3,1.5'], r'cell pruner.allocator.ratio=1.5: .*\[0, 1\)'),
        (['pruning.restorer.type=LBYL,Magic'], "pruning.restorer.type: .*'Magic'"),
        (['pruning.restorer.type=NeuronMerging', 'pruning.restorer.lambda1=0.1'], 'pruning.restorer.lambda1: unknown'),
        (['pruning.restorer.type=LBYL,none', 'pruning.restorer.lambda1=0.1'], 'restorer is none in some cells'),
        (['pruning.tuning=True'], 'pruning.tuning: unknown'),
        (['optim_wraper.optimizer.lr=0.1'], 'no optim_wraper.*optim_wrapper'),
        (['optim_wrapper.optimiser.lr=0.1'], 'no optim_wrapper.optimiser'),
        (['nothing=1'], 'no nothing'),
    ],
)
def test_mistakes_show_before_anything_runs(grid: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        cells_of(config(), parse_grid(grid))
    assert re.search(message, str(caught.value)), caught.value


def test_options_survive_the_command_line() -> None:
    """What --cfg-options makes of a cell's texts is the cell's config."""
    from mmengine.config import DictAction

    grid = parse_grid(
        [
            "pruning.restorer={'type': 'LBYL', 'mode': 'exact', 'lambda1': 'auto', 'lambda2': 'auto'},none",
            "pruning.pruner.keep=['conv1','*.conv2'],['conv1','*.conv2','layer1.0.conv1']",
            'pruning.finetune=True,False',
        ]
    )
    for cell in cells_of(config(), grid):
        cfg = config()
        cfg.merge_from_dict(
            {key: DictAction._parse_iterable(option_text(value)) for key, value in cell.options.items()}
        )
        assert prepare_config(cfg).pretty_text == cell.config.pretty_text

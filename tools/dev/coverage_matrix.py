"""The coverage matrix: every method and backbone of mmdet, every backbone of mmpretrain, pruned and put to work.

    python -m tools.dev.coverage_matrix                   # what is missing in work_dirs/coverage, then docs/coverage.*
    python -m tools.dev.coverage_matrix --only '*yolox*' --again

Each network is built from the host's own config, without weights, with random statistics in its batch norms and fewer
blocks of the same kinds; 30 % of the channels go. It works if its outputs equal those of the dense network with the
removed channels zeroed, if the host's own loader builds the same network from the saved file, and if ``loss`` and
``predict`` run on a random batch.
"""

from __future__ import annotations

import copy
import json
import logging
import tempfile
from functools import partial
from pathlib import Path

import mmdet.apis
import mmpretrain.apis
import torch
from mmdet.testing import demo_mm_inputs
from mmdet.utils import register_all_modules
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.registry import init_default_scope
from mmpretrain.structures import DataSample
from torch import Tensor, nn

import mmprune
from mmprune.checkpoint.record import structure_of
from mmprune.errors import ConfigError, GraphError
from mmprune.graph.scope import Scope, heads_of
from mmprune.graph.tracing import flatten_tensors
from mmprune.graph.verify import double_precision
from mmprune.registry import MODELS
from mmprune.storage.files import write_atomically
from tests.networks import randomise
from tests.oracles.zeroing import distance, outputs, zeroed_copy
from tools.dev import fresh
from tools.dev.coverage_cases import Case, cases, dicts, make_shallow_classes

#: Largest difference to the zeroed dense network, relative to the largest value of the output.
TOLERANCE = 1e-4
MARKS = {'works': '✓', 'refused': '–', 'wrong': '✗'}
DOCS = Path(__file__).parents[2] / 'docs'


def check(case: Case) -> dict:
    """Prune, compare, save, reload, train and predict.

    Returns:
        What remarks there are, and figures.

    Raises:
        Refused: There is nothing to check.
        Wrong: The pruned network does not do what it should.
    """
    make_shallow_classes()
    if case.host == 'mmdet':
        register_all_modules(init_default_scope=False)
    init_default_scope(case.host)
    with fresh.refusing('its config cannot be read here'):
        cfg = case.read()
    torch.manual_seed(0)
    with fresh.refusing('its host cannot build it here'):
        model = MODELS.build(copy.deepcopy(cfg.model))  # some detectors write into theirs
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    model.init_weights()
    randomise(model).eval()
    images = torch.randn(1, *case.shape)
    targets = [name for name in case.target.split(' + ') if name != 'neck' or hasattr(model, 'neck')]
    targets = heads_of(model) if case.target == 'heads' else targets
    with fresh.refusing('the dense network does not run here'):
        outputs(_Call(Scope.of(model, images)), images)
    dense = copy.deepcopy(model)
    uniform = dict(type='Uniform', ratio=0.3)
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=uniform, prune_interface=case.interface)
    try:
        report = mmprune.prune(model, images, targets, pruner, restorer=None, clock_s=0)
    except (ConfigError, GraphError) as error:
        raise fresh.Refused(str(error)) from error
    _compare_with_zeroed(dense, model, images, targets, case.interface)
    again = _saved_and_reloaded(case, cfg, model)
    same = outputs(_Call(Scope.of(again, images)), images), outputs(_Call(Scope.of(model, images)), images)
    if not all(torch.equal(a, b) for a, b in zip(*same)):
        raise fresh.Wrong('the reloaded network gives other features')
    before, after = (stage.target_flops for stage in (report.stages[0], report.stages[-1]))
    whole = [row.reason for row in report.layers if row.before == row.after]
    return {
        'reason': _work(partial(_batch, case, cfg), again, dense),
        'flops_left': round(after / before, 3) if before else None,
        'groups': len(report.layers),
        'cut': len(report.layers) - len(whole),
        'kept': max(set(whole), key=whole.count) if whole else '',
    }


class _Call(nn.Module):
    """A scope as a module."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.model, self._scope = scope.model, scope

    def forward(self, images: Tensor) -> list[Tensor]:
        return flatten_tensors(self._scope.forward(images))


def _compare_with_zeroed(
    dense: nn.Module, model: nn.Module, images: Tensor, targets: list[str], interface: bool
) -> None:
    zeroed = zeroed_copy(dense, structure_of(model).to_json())
    scopes = [Scope.of(net, images, targets) for net in (zeroed, model)]
    calls = [_Call(scope.with_heads() if interface else scope) for scope in scopes]

    def difference(given: Tensor) -> float:
        found = [[out for out in outputs(call, given) if out.is_floating_point() and out.numel()] for call in calls]
        return distance(*([out.to(given.dtype) for out in outs] for outs in found))

    error = difference(images)
    if not error <= TOLERANCE:  # rounding is gone in double precision, mistakes are not
        with double_precision(zeroed), double_precision(model):
            error = difference(images.double())
    if not error <= TOLERANCE:
        raise fresh.Wrong(f'its outputs differ by {error:.1e} from those of the zeroed dense network')


def _saved_and_reloaded(case: Case, cfg: Config, model: nn.Module) -> nn.Module:
    """The network that the host's own loader builds."""
    cfg = copy.deepcopy(cfg)
    cfg.model.host, cfg.model.type = cfg.model.type, 'mmprune.Pruned'
    with tempfile.TemporaryDirectory() as folder:
        path = str(mmprune.save(model, Path(folder) / 'pruned.pth', meta={'dataset_meta': {'classes': ('one',)}}))
        if case.host == 'mmpretrain':
            return mmpretrain.apis.get_model(cfg, pretrained=path)
        # a random palette asks no data set for colours
        return mmdet.apis.init_detector(cfg, path, palette='random', device='cpu')


def _work(batch: partial[dict], model: nn.Module, dense: nn.Module) -> str:
    """``loss`` and ``predict``; what fails in the dense network as well is no fault of the cut, but is told."""
    told = []
    for mode in ('loss', 'predict'):
        try:
            _run(batch, model, mode)
        except Exception as error:
            try:
                _run(batch, dense, mode)
            except Exception as other:
                told.append(f'{mode} not tried: it fails in the dense network as well, {other!r:.200}')
                continue
            raise fresh.Wrong(f'{mode}: {error!r:.300}') from error
    return '; '.join(told)


def _run(batch: partial[dict], model: nn.Module, mode: str) -> None:
    for key in ('epoch', 'iter'):  # some heads and preprocessors ask which it is
        MessageHub.get_current_instance().update_info(key, 0)
    model.train(mode == 'loss')
    with torch.no_grad():
        found = model(**batch(model), mode=mode)
        if mode == 'loss':
            model.parse_losses(found)


def _batch(case: Case, cfg: Config, model: nn.Module) -> dict:
    """Two random images with labels of the kinds that the config's training data has."""
    if case.host == 'mmpretrain':
        samples = [DataSample().set_gt_label(label) for label in range(2)]
        images = [torch.randint(0, 255, case.shape, dtype=torch.uint8) for _ in samples]
        return model.data_preprocessor({'inputs': images, 'data_samples': samples}, model.training)
    steps = list(dicts(cfg.get('train_dataloader')))
    maps = any(step.get('with_seg') or 'LoadPanopticAnnotations' in str(step.get('type')) for step in steps)
    counts = [getattr(module, 'num_classes', None) for module in model.modules()]
    batch = demo_mm_inputs(
        2,
        [case.shape, case.shape],
        num_items=[3, 2],
        num_classes=max(2, min([10, *(count for count in counts if isinstance(count, int))])),
        with_mask=maps or any(step.get('with_mask') for step in steps),
        with_semantic=maps,
    )
    for sample in batch['data_samples']:
        sample.set_metainfo(dict(batch_input_shape=case.shape[1:], pad_shape=case.shape[1:]))
        if not case.config.startswith('crowddet'):
            del sample.ignored_instances
        boxes = sample.gt_instances.bboxes  # no empty ones
        boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 8)
    return model.data_preprocessor(batch, model.training)


def markdown(rows: list[dict]) -> str:
    """The matrix for people."""
    counts = fresh.count_of(rows)
    tried = {host: len({row['config'] for row in rows if row['host'] == host}) for host in ('mmdet', 'mmpretrain')}
    lines = [
        '# Coverage',
        '',
        f'Written by `python -m tools.dev.coverage_matrix` on {rows[0]["date"]} with {rows[0]["versions"]}.',
        '',
        'Each network is built from the config of its host, without weights, with random statistics and fewer '
        'blocks of the same kinds. 30 % of the channels of every group go. ✓: the sliced network computes what '
        "the dense one does with those channels zeroed, the host's loader rebuilds it from the saved file, and "
        '`loss` and `predict` run. Beside it: the FLOPs left of the target. –: refused, '
        "with the reason below. ✗: wrong. *interface*: with `prune_interface=True`, the target's outputs go "
        'together with what reads them, FPN channels with the first layers of the heads.',
        '',
        f'**{tried["mmdet"]} detectors, {tried["mmpretrain"]} classifiers, {len(rows)} cases: '
        f'{counts["works"]} work ({100 * counts["works"] / max(1, len(rows)):.1f} %), {counts["refused"]} refused, '
        f'{counts["wrong"]} wrong.**',
        '',
    ]
    notes: dict[str, int] = {}
    for host in (host for host, count in tried.items() if count):
        by_case = {(row['config'], row['target']): row for row in rows if row['host'] == host}
        targets = list(dict.fromkeys(target for _, target in by_case))
        lines += [f'## {host}', '', f'| config | {" | ".join(targets)} |', '| --- ' * (1 + len(targets)) + '|']
        for config in dict.fromkeys(config for config, _ in by_case):
            cells = [_cell(by_case.get((config, target)), notes) for target in targets]
            lines.append(f'| {config} | {" | ".join(cells)} |')
        lines.append('')
        for target in targets:
            of_target = [row for (_, name), row in by_case.items() if name == target]
            lines.append(f'{target}: {fresh.count_of(of_target)["works"]} of {len(of_target)} work.  ')
        lines.append('')
    return '\n'.join([*lines, '## Reasons', '', *(f'{number}. {reason}' for reason, number in notes.items()), ''])


def _cell(row: dict | None, notes: dict[str, int]) -> str:
    if row is None:
        return ''
    reason, text = ' '.join(row['reason'].split()), MARKS[row['status']]
    text += f' {row["flops_left"]:.0%}' if row.get('flops_left') else ''
    return f'{text} [{notes.setdefault(reason, len(notes) + 1)}]' if reason else text


def main() -> None:
    """Run what is missing, write the documents."""
    parser = fresh.parser_of(__doc__, 'coverage')
    parser.add_argument('--docs', type=Path, default=DOCS, help='folder of coverage.json and coverage.md')
    args = parser.parse_args()
    known = {case.name: case for case in cases()}
    results = fresh.run({name: partial(check, case) for name, case in known.items()}, args)
    rows = [
        {'host': known[name].host, 'config': known[name].config, 'target': known[name].label, **result}
        for name, result in results.items()
    ]
    write_atomically(args.docs / 'coverage.json', '[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n')
    write_atomically(args.docs / 'coverage.md', markdown(rows))
    print(f'written: {args.docs / "coverage.json"}, coverage.md')


if __name__ == '__main__':
    main()

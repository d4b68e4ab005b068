"""The coverage matrix: every method and backbone of mmdet, every backbone of mmpretrain, pruned and put to work.

    python tools/dev/coverage_matrix.py                   # what is missing in work_dirs/coverage, then docs/coverage.*
    python tools/dev/coverage_matrix.py --only '*yolox*' --again

Each network is built from the host's own config, without weights, with random statistics in its batch norms and fewer
blocks of the same kinds; 30 % of the channels go. It works if its outputs equal those of the dense network with the
removed channels zeroed, if the host's own loader builds the same network from the saved file, and if ``loss`` and
``predict`` run on a random batch. Each case runs in a process of its own, with limits on time and memory.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import json
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# not the folder of this file: other packages would take it for the module `coverage`
sys.path[:1] = [str(ROOT)]

import torch  # noqa: E402

from mmprune.report.report import versions  # noqa: E402
from mmprune.storage.files import write_atomically  # noqa: E402
from tools.dev.coverage_cases import Case, cases, make_shallow_classes  # noqa: E402

#: Largest difference to the zeroed dense network, relative to the largest value of the output.
TOLERANCE = 1e-4
MARKS = {'works': '✓', 'refused': '–', 'wrong': '✗'}


class Wrong(Exception):
    """A pruned network that does not do what it should."""


class Refused(Exception):
    """A network that cannot be built or run here, or that mmprune does not cut."""


@contextmanager
def _refusing(why: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise Refused(f'{why}: {error!r:.200}') from error


def check(case: Case) -> dict:
    """Prune, compare, save, reload, train and predict.

    Returns:
        What remarks there are, and figures.

    Raises:
        Refused: There is nothing to check.
        Wrong: The pruned network does not do what it should.
    """
    import mmprune
    from mmprune.errors import ConfigError, GraphError
    from mmprune.graph.scope import Scope, heads_of
    from mmprune.registry import MODELS
    from tests.networks import randomise
    from tests.oracles.zeroing import outputs

    _set_scope(case.host)
    with _refusing('its config cannot be read here'):
        cfg = case.read()
    torch.manual_seed(0)
    with _refusing('its host cannot build it here'):
        model = MODELS.build(copy.deepcopy(cfg.model))  # some detectors write into theirs
    logging.getLogger('mmengine').setLevel(logging.ERROR)
    model.init_weights()
    randomise(model)
    model.eval()
    images = torch.randn(1, *case.shape)
    targets = [name for name in case.target.split(' + ') if name != 'neck' or hasattr(model, 'neck')]
    targets = heads_of(model) if case.target == 'heads' else targets
    with _refusing('the dense network does not run here'):
        outputs(_Call(Scope.of(model, images)), images)
    dense = copy.deepcopy(model)
    uniform = dict(type='Uniform', ratio=0.3)
    pruner = dict(type='ChannelPruner', criterion='L2Norm', allocator=uniform, prune_interface=case.interface)
    try:
        report = mmprune.prune(model, images, targets, pruner, restorer=None, clock_s=0)
    except (ConfigError, GraphError) as error:
        raise Refused(str(error)) from error
    _compare_with_zeroed(dense, model, images, targets, case.interface)
    with tempfile.TemporaryDirectory() as folder:
        path = mmprune.save(model, Path(folder) / 'pruned.pth', meta={'dataset_meta': {'classes': ('one',)}})
        again = _reload(case, cfg, path)
    same = outputs(_Call(Scope.of(again, images)), images), outputs(_Call(Scope.of(model, images)), images)
    if not all(torch.equal(a, b) for a, b in zip(*same)):
        raise Wrong('the reloaded network gives other features')
    before, after = (stage.target_flops for stage in (report.stages[0], report.stages[-1]))
    whole = [row.reason for row in report.layers if row.before == row.after]
    return {
        'reason': _work(case, again, dense),
        'flops_left': round(after / before, 3) if before else None,
        'groups': len(report.layers),
        'cut': len(report.layers) - len(whole),
        'kept': max(set(whole), key=whole.count) if whole else '',
    }


def _compare_with_zeroed(
    dense: torch.nn.Module, model: torch.nn.Module, images: torch.Tensor, targets: list[str], interface: bool
) -> None:
    from mmprune.checkpoint.state import structure_of
    from mmprune.graph.scope import Scope
    from mmprune.graph.verify import double_precision
    from tests.oracles.zeroing import distance, outputs, zeroed_copy

    zeroed = zeroed_copy(dense, structure_of(model).to_json())
    scopes = [Scope.of(net, images, targets) for net in (zeroed, model)]
    calls = [_Call(scope.with_heads() if interface else scope) for scope in scopes]

    def difference(given: torch.Tensor) -> float:
        found = [[out for out in outputs(call, given) if out.is_floating_point() and out.numel()] for call in calls]
        return distance(*([out.to(given.dtype) for out in outs] for outs in found))

    error = difference(images)
    if not error <= TOLERANCE:  # rounding is gone in double precision, mistakes are not
        with double_precision(zeroed), double_precision(model):
            error = difference(images.double())
    if not error <= TOLERANCE:
        raise Wrong(f'its outputs differ by {error:.1e} from those of the zeroed dense network')


class _Call(torch.nn.Module):
    """A scope as a module."""

    def __init__(self, scope: object) -> None:
        super().__init__()
        self.model, self._scope = scope.model, scope

    def forward(self, images: torch.Tensor) -> object:
        from mmprune.graph.tracing import flatten_tensors

        return flatten_tensors(self._scope.forward(images))


def _set_scope(host: str) -> None:
    from mmengine.registry import init_default_scope

    if host == 'mmdet':
        from mmdet.utils import register_all_modules

        register_all_modules(init_default_scope=False)
    init_default_scope(host)


def _reload(case: Case, cfg: object, path: Path) -> torch.nn.Module:
    """The network that the host's own loader builds."""
    cfg = copy.deepcopy(cfg)
    cfg.model.host, cfg.model.type = cfg.model.type, 'mmprune.Pruned'
    if case.host == 'mmdet':
        from mmdet.apis import init_detector

        return init_detector(cfg, str(path), palette='random', device='cpu')  # asks no data set for colours
    from mmpretrain.apis import get_model

    return get_model(cfg, pretrained=str(path))


def _work(case: Case, model: torch.nn.Module, dense: torch.nn.Module) -> str:
    """``loss`` and ``predict``; what fails in the dense network as well is no fault of the cut, but is told."""
    told = []
    for name, run in (('loss', _loss), ('predict', _predict)):
        try:
            run(case, model)
        except Exception as error:
            try:
                run(case, dense)
            except Exception as other:
                told.append(f'{name} not tried: it fails in the dense network as well, {other!r:.200}')
                continue
            raise Wrong(f'{name}: {error!r:.300}') from error
    return '; '.join(told)


def _batch(case: Case, model: torch.nn.Module, training: bool) -> dict:
    if case.host == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        batch = demo_mm_inputs(
            2,
            [case.shape, case.shape],
            num_items=[3, 2],
            num_classes=_classes(model),
            with_mask=case.has_masks,
            with_semantic=case.has_maps,
        )
        for sample in batch['data_samples']:
            sample.set_metainfo(dict(batch_input_shape=case.shape[1:], pad_shape=case.shape[1:]))
            if not case.config.startswith('crowddet'):
                del sample.ignored_instances
            boxes = sample.gt_instances.bboxes  # no empty ones
            boxes[:, 2:] = torch.maximum(boxes[:, 2:], boxes[:, :2] + 8)
        return model.data_preprocessor(batch, training)
    from mmpretrain.structures import DataSample

    samples = [DataSample().set_gt_label(k) for k in range(2)]
    images = [torch.randint(0, 255, case.shape, dtype=torch.uint8) for _ in samples]
    return model.data_preprocessor({'inputs': images, 'data_samples': samples}, training)


def _classes(model: torch.nn.Module) -> int:
    counts = [getattr(module, 'num_classes', None) for module in model.modules()]
    return max(2, min([10, *(count for count in counts if isinstance(count, int))]))


def _loss(case: Case, model: torch.nn.Module) -> None:
    from mmengine.logging import MessageHub

    for key in ('epoch', 'iter'):  # some heads and preprocessors ask which it is
        MessageHub.get_current_instance().update_info(key, 0)
    model.train()
    with torch.no_grad():
        model.parse_losses(model(**_batch(case, model, True), mode='loss'))


def _predict(case: Case, model: torch.nn.Module) -> None:
    model.eval()
    with torch.no_grad():
        model(**_batch(case, model, False), mode='predict')


def _child(case: Case, path: Path, gigabytes: float) -> None:
    os.dup2(os.open(path.with_suffix('.log'), os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    limit = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    start = time.perf_counter()
    try:
        make_shallow_classes()
        found = {'status': 'works', **check(case)}
    except Refused as error:
        found = {'status': 'refused', 'reason': str(error)}
    except MemoryError:
        found = {'status': 'wrong', 'reason': f'needs more than {gigabytes:g} GiB'}
    except Exception as error:
        traceback.print_exc()
        kind = '' if isinstance(error, Wrong) else f'{type(error).__name__}: '
        found = {'status': 'wrong', 'reason': f'{kind}{error}'}
    found['seconds'] = round(time.perf_counter() - start, 1)
    write_atomically(path, json.dumps(found))


def run_case(case: Case, folder: Path, seconds: float, gigabytes: float) -> dict:
    """One case in a process of its own; what it found, also if it had to be ended."""
    path = folder / f'{case.slug}.json'
    path.unlink(missing_ok=True)
    process = multiprocessing.get_context('fork').Process(target=_child, args=(case, path, gigabytes))
    process.start()
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        found = {'status': 'wrong', 'reason': f'takes more than {seconds:g} s', 'seconds': seconds}
    elif path.exists():
        return json.loads(path.read_text())
    else:
        found = {'status': 'wrong', 'reason': f'its process ended with code {process.exitcode}', 'seconds': 0.0}
    write_atomically(path, json.dumps(found))
    return found


def main() -> None:
    """Run what is missing, write the documents."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--only', default='*', help="pattern of 'host/config [target]'")
    parser.add_argument('--again', action='store_true', help='run also what was run')
    parser.add_argument('--failed', action='store_true', help='run also what was run and did not work')
    parser.add_argument('--seconds', type=float, default=240, help='limit for a case')
    parser.add_argument('--gigabytes', type=float, default=8, help='limit for a case')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'coverage')
    parser.add_argument('--docs', type=Path, default=ROOT / 'docs')
    args = parser.parse_args()
    args.work_dir.mkdir(parents=True, exist_ok=True)
    everything = list(cases())
    known = {
        case: json.loads(path.read_text())
        for case in everything
        if (path := args.work_dir / f'{case.slug}.json').exists()
    }
    todo = [
        case
        for case in everything
        if fnmatchcase(f'{case.host}/{case.config} [{case.label}]', args.only)
        and (args.again or case not in known or (args.failed and known[case]['status'] != 'works'))
    ]
    warnings.simplefilter('ignore')
    torch.set_num_threads(1)
    _import_hosts()
    start = time.perf_counter()
    for done, case in enumerate(todo, 1):
        known[case] = found = run_case(case, args.work_dir, args.seconds, args.gigabytes)
        left = (time.perf_counter() - start) / done * (len(todo) - done)
        print(
            f'[{done}/{len(todo)}, {left / 60:.0f} min left] {case.config} [{case.label}]: {found["status"]} '
            f'{found["seconds"]} s {found["reason"][:150]}',
            flush=True,
        )
    rows = [
        {'host': case.host, 'config': case.config, 'target': case.label, **known[case], **_circumstances()}
        for case in everything
        if case in known
    ]
    write_atomically(args.docs / 'coverage.json', '[\n' + ',\n'.join(map(json.dumps, rows)) + '\n]\n')
    write_atomically(args.docs / 'coverage.md', markdown(rows))
    counts = {status: sum(row['status'] == status for row in rows) for status in MARKS}
    print(f'{counts}; written: {args.docs / "coverage.json"}, coverage.md')


def _import_hosts() -> None:
    """Once, before any process is forked."""
    import mmdet.apis  # noqa: F401
    import mmpretrain.apis  # noqa: F401

    import mmprune  # noqa: F401
    import tests.networks  # noqa: F401


def _circumstances() -> dict[str, str]:
    """Date and versions, for every row."""
    return {
        'date': datetime.date.today().isoformat(),
        'versions': ' '.join(f'{name}={version}' for name, version in versions().items()),
    }


def markdown(rows: list[dict]) -> str:
    """The matrix for people."""
    counts = {status: sum(row['status'] == status for row in rows) for status in MARKS}
    tried = {host: len({row['config'] for row in rows if row['host'] == host}) for host in ('mmdet', 'mmpretrain')}
    lines = [
        '# Coverage',
        '',
        f'Written by `python tools/dev/coverage_matrix.py` on {rows[0]["date"]} with {rows[0]["versions"]}.',
        '',
        'Each network is built from the config of its host, without weights, with random statistics and fewer '
        'blocks of the same kinds. 30 % of the channels of every group go. ✓: the sliced network computes what '
        "the dense one does with those channels zeroed, the host's loader rebuilds it from the saved file, and "
        '`loss` and `predict` run. Beside it: the FLOPs left of the target. –: refused, '
        "with the reason below. ✗: wrong. *interface*: with `prune_interface=True`, the target's outputs go "
        'together with what reads them, FPN channels with the first layers of the heads.',
        '',
        f'**{tried["mmdet"]} detectors, {tried["mmpretrain"]} classifiers, {len(rows)} cases: '
        f'{counts["works"]} work '
        f'({100 * counts["works"] / max(1, len(rows)):.1f} %), {counts["refused"]} refused, '
        f'{counts["wrong"]} wrong.**',
        '',
    ]
    notes: dict[str, int] = {}
    for host in (host for host, count in tried.items() if count):
        mine = [row for row in rows if row['host'] == host]
        targets = list(dict.fromkeys(row['target'] for row in mine))
        lines += [f'## {host}', '', '| config | ' + ' | '.join(targets) + ' |', '| --- ' * (1 + len(targets)) + '|']
        for config in dict.fromkeys(row['config'] for row in mine):
            cells = []
            for target in targets:
                row = next((r for r in mine if (r['config'], r['target']) == (config, target)), None)
                cells.append('' if row is None else _cell(row, notes))
            lines.append(f'| {config} | ' + ' | '.join(cells) + ' |')
        lines += [
            '',
            *(
                f'{target}: {sum(r["status"] == "works" for r in mine if r["target"] == target)} of '
                f'{sum(r["target"] == target for r in mine)} work.  '
                for target in targets
            ),
            '',
        ]
    lines += ['## Reasons', '', *(f'{number}. {reason}' for reason, number in notes.items()), '']
    return '\n'.join(lines)


def _cell(row: dict, notes: dict[str, int]) -> str:
    reason, text = ' '.join(row['reason'].split()), MARKS[row['status']]
    if row.get('flops_left'):
        text += f' {row["flops_left"]:.0%}'
    return f'{text} [{notes.setdefault(reason, len(notes) + 1)}]' if reason else text


if __name__ == '__main__':
    main()

"""mmengine's Runner, careful with files, and with one more thing to run beside training, validation and tests.

The functions at the end are all that the engine asks of a Runner which mmengine keeps to itself.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.runner import BaseLoop, Runner
from torch.utils.data import DataLoader

from mmprune.engine.config import PRUNING
from mmprune.engine.resume import Schedulers, resumed_problem, states_of
from mmprune.engine.settings import Settings
from mmprune.errors import CheckpointError, ConfigError, StructureError
from mmprune.storage.files import PARTIAL, WriteError
from mmprune.storage.lock import is_writer, locked


class SafeRunner(Runner):
    """mmengine's Runner, except for its handling of files.

    mmengine writes checkpoints in place, so that a run that is killed, or a disk that is full, leaves half of one; it
    believes what a checkpoint says about files to delete; and every process of a distributed test writes its own
    timings and the metrics into one and the same file, at the same time.
    """

    _schedules: Sequence[dict] = ()

    def save_checkpoint(self, out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        """Write under another name and rename; otherwise as in mmengine.

        Raises:
            WriteError: The disk is full, say; earlier checkpoints are as they were.
        """
        if '://' in str(out_dir):
            super().save_checkpoint(out_dir, filename, *args, **kwargs)
            return
        partial, path = Path(out_dir) / f'.{filename}{PARTIAL}', Path(out_dir) / filename
        try:
            super().save_checkpoint(out_dir, partial.name, *args, **kwargs)
            if is_main_process():
                with partial.open('rb') as file:
                    os.fsync(file.fileno())
                os.replace(partial, path)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise WriteError(path, error) from error

    def resume(self, filename: str, *args: Any, **kwargs: Any) -> None:
        """Go on from a checkpoint; otherwise as in mmengine.

        Raises:
            CheckpointError: It holds no run, or one of another config.
        """
        try:
            super().resume(filename, *args, **kwargs)
        except (ConfigError, CheckpointError, StructureError):
            raise
        except (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError) as error:
            text = str(error).strip().splitlines() or ['']
            raise CheckpointError(
                f'{filename}: this config cannot go on from it ({type(error).__name__}: {text[0]:.200})'
            ) from error
        problem = resumed_problem(self, self._schedules)
        if not problem and not all(isinstance(value, bool) for value in self.message_hub._resumed_keys.values()):
            problem = 'its log is damaged'
        if problem:
            raise CheckpointError(f'{filename}: no run can go on from it: {problem}')
        self._forget_foreign_files()

    def register_hooks(self, *args: Any, **kwargs: Any) -> None:
        """As in mmengine; the metrics of a test are written by the main process alone."""
        super().register_hooks(*args, **kwargs)
        if not is_main_process():
            for hook in self.hooks:
                if isinstance(hook, LoggerHook):
                    hook.after_test_epoch = _write_nothing

    def build_param_scheduler(self, scheduler: dict | list | Schedulers) -> Schedulers:
        """As in mmengine; remembers the states, for comparison with those that a checkpoint brings."""
        built = super().build_param_scheduler(scheduler)
        self._schedules = states_of(built)
        return built

    @staticmethod
    def build_dataloader(*args: Any, **kwargs: Any) -> DataLoader:
        """As in mmengine; folders that hold a single class are a mistake.

        Raises:
            ConfigError: Say, a folder of all images, where every class needs one of its own.
        """
        loader = Runner.build_dataloader(*args, **kwargs)
        _refuse_single_class(loader.dataset)
        return loader

    def _forget_foreign_files(self) -> None:
        """CheckpointHook deletes the files that a resumed run remembers: only those of this work dir may be meant."""
        folders = [
            Path(self.work_dir) if hook.out_dir is None else Path(hook.out_dir) / Path(self.work_dir).name
            for hook in self.hooks
            if isinstance(hook, CheckpointHook)
        ]
        known = self.message_hub.runtime_info
        for key in [key for key in known if key.startswith(('best_ckpt', 'last_ckpt'))]:
            found = [folder / Path(str(known[key])).name for folder in folders]
            found = [path for path in found if path.is_file() and not path.is_symlink()]
            if found:
                known[key] = str(found[0])
            else:
                del known[key]
        numbers = known.get('keep_ckpt_ids', [])
        known['keep_ckpt_ids'] = [n for n in numbers if type(n) is int] if isinstance(numbers, list) else []


def _refuse_single_class(dataset: Any) -> None:
    for part in getattr(dataset, 'datasets', [getattr(dataset, 'dataset', dataset)]):
        folders = getattr(part, 'folder_to_idx', None)
        if folders is not None and len(folders) == 1:
            raise ConfigError(
                f'dataset: {type(part).__name__} finds a single class in {part.img_prefix}, the folder '
                f'{next(iter(folders))!r}; every class needs a folder of its own, or the data set an ann_file'
            )


def _write_nothing(runner: Runner, metrics: Mapping | None = None) -> None:
    """In place of ``LoggerHook.after_test_epoch``."""


class PruningRunner(SafeRunner):
    """A Runner that prunes, and leaves an earlier run's config in the work dir alone.

    The config is written (by :class:`ReportHook`) together with the first file that it belongs to, so that a run that
    fails early changes nothing.
    """

    def dump_config(self) -> None:
        """Do nothing yet."""

    @classmethod
    def from_cfg(cls, cfg: Config, settings: Settings | None = None) -> PruningRunner:
        """Build from a prepared config; without fine-tuning, build nothing of training.

        Args:
            cfg: What ``prepare_config`` gave.
            settings: Those of its ``pruning``; None lets the hook read them from the config.
        """
        given = copy.deepcopy(cfg)
        if cfg.get('pruning') and not cfg.pruning.get('finetune', False):
            for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
                given[key] = None
        if settings is not None:
            given.custom_hooks = [hook for hook in given.get('custom_hooks') or [] if hook.get('type') != PRUNING]
        runner = super().from_cfg(given)
        if settings is not None:
            runner.register_hook(dict(type=PRUNING, settings=settings))
        runner.cfg = copy.deepcopy(cfg)
        return runner

    def prune(self) -> None:
        """Prune, evaluate the stages and save, as ``test()`` tests; no training data, optimiser or loop is built."""
        self.call_hook('before_run')
        self._init_model_weights()
        self.load_or_resume()
        self.call_hook('prune')
        self.call_hook('after_run')


def run(cfg: Config, resume: str | None = None, settings: Settings | None = None) -> None:
    """Do the whole job of a prepared config and leave its results in ``cfg.work_dir``.

    Args:
        cfg: With ``pruning``, or without it for ordinary training.
        resume: Checkpoint of an interrupted run to go on from.
        settings: Those of its ``pruning``, if they have been read already.
    """
    pruning = cfg.get('pruning')
    with locked(cfg.work_dir, is_writer(cfg.get('launcher', 'none'))):
        runner = PruningRunner.from_cfg(cfg, settings) if pruning else SafeRunner.from_cfg(cfg)
        if resume is not None:
            runner._load_from, runner._resume = resume, True
        if not pruning or pruning.get('finetune', False):
            runner.train()
        else:
            runner.prune()


def evaluate(runner: Runner) -> dict[str, float]:
    """The metrics of the test set, those that are numbers; modules stay in the modes that they are in.

    Raises:
        ConfigError: The test set cannot be read.
    """
    modes = {module: module.training for module in runner.model.modules()}
    try:
        metrics = runner.test_loop.run()
    except (FileNotFoundError, NotADirectoryError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ConfigError(
            f'test_dataloader: its data cannot be read ({reason}); to prune without evaluating set '
            'pruning.evaluate=False'
        ) from error
    for module, mode in modes.items():
        module.training = mode
    return {key: number for key, value in metrics.items() if (number := _number(value)) is not None}


def _number(metric: Any) -> float | None:
    """A metric as a number; matrices and texts have no place in a table of stages."""
    try:
        return float(metric)
    except (TypeError, ValueError, RuntimeError):
        return None


def is_resumed(runner: Runner) -> bool:
    """Does the runner go on with an interrupted run?"""
    return runner._resume


def checkpoint_of(runner: Runner) -> str | None:
    """The checkpoint that the runner loads or resumes."""
    return runner._load_from


def built_loops(runner: Runner) -> list[BaseLoop]:
    """The loops of training and test, as far as they are built."""
    return [loop for loop in (runner._train_loop, runner._test_loop) if isinstance(loop, BaseLoop)]


@contextmanager
def hooks_paused(runner: Runner, paused: Collection[Hook]) -> Iterator[None]:
    """Let some hooks take no part in what runs meanwhile."""
    hooks = runner._hooks
    runner._hooks = [hook for hook in hooks if hook not in paused]
    try:
        yield
    finally:
        runner._hooks = hooks

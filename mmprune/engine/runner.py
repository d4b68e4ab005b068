"""A Runner whose files are whole, and which looks at what it resumes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, LoggerHook
from mmengine.runner import Runner

from mmprune.engine.resume import resumed_problem, states_of
from mmprune.errors import CheckpointError, ConfigError, StructureError
from mmprune.storage.files import PARTIAL, WriteError


class SafeRunner(Runner):
    """mmengine's Runner, except for its handling of files.

    mmengine writes checkpoints in place, so that a run that is killed, or a disk that is full, leaves half of one; it
    believes what a checkpoint says about files to delete; and every process of a distributed test writes its own
    timings and the metrics into one and the same file, at the same time.
    """

    _schedules: Sequence[dict] = ()

    def save_checkpoint(self, out_dir: str, filename: str, *args: object, **kwargs: object) -> None:
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

    def resume(self, filename: str, *args: object, **kwargs: object) -> None:
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
        if problem := resumed_problem(self, self._schedules):
            raise CheckpointError(f'{filename}: no run can go on from it: {problem}')
        self._forget_foreign_files()

    def register_hooks(self, *args: object, **kwargs: object) -> None:
        """As in mmengine; the metrics of a test are written by the main process alone."""
        super().register_hooks(*args, **kwargs)
        if not is_main_process():
            for hook in self.hooks:
                if isinstance(hook, LoggerHook):
                    hook.after_test_epoch = _write_nothing

    def build_param_scheduler(self, scheduler: object) -> object:
        """As in mmengine; remembers the states, for comparison with those that a checkpoint brings."""
        built = super().build_param_scheduler(scheduler)
        self._schedules = states_of(built)
        return built

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


def _write_nothing(runner: Runner, metrics: Mapping | None = None) -> None:
    """In place of ``LoggerHook.after_test_epoch``."""

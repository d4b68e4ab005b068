"""A config's training set for distillation: synthetic images, real ones, or both."""

from __future__ import annotations

from typing import cast

from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from torch import nn

from mmprune.datasets.synthetic import SyntheticImages
from mmprune.distillation.settings import FeatureDistillation
from mmprune.errors import ConfigError
from mmprune.graph.program import unwrap
from mmprune.images.store import ImageStore
from mmprune.images.synthesizer import Synthesizer

SYNTHETIC, SUBSET = 'mmprune.SyntheticImages', 'mmprune.RandomSubset'
#: Keys of a training loader that have to do with its data set and do not survive another one.
OF_DATASET = ('dataset', 'sampler', 'batch_sampler')


def prepare_distillation(cfg: Config, distillation: FeatureDistillation, synthesizer: Synthesizer | None) -> None:
    """Let the config train on the images that distillation wants; in place, idempotent.

    Batch size, workers and collate function stay. Without real images the config's own training set is not even
    named any more: no run can build it by accident.

    Args:
        cfg: With a ``train_dataloader``.
        distillation: Says which images.
        synthesizer: Has ``num_images``; None if all images are real.
    """
    loader = cfg.train_dataloader
    if not _is_prepared(loader.dataset):
        real = dict(loader.dataset)
        metainfo = _metainfo(real, cfg.get('default_scope'))
        if distillation.num_real is not None or distillation.images == 'mixed':
            seed = (cfg.get('randomness') or {}).get('seed') or 0
            real = dict(type=SUBSET, dataset=real, num_images=distillation.num_real, seed=seed)
        synthetic = (
            None
            if synthesizer is None
            else dict(
                type=SYNTHETIC,
                num_images=synthesizer.num_images,
                metainfo={key: value for key, value in metainfo.items() if key == 'classes'},
            )
        )
        if distillation.images == 'synthetic':
            kept = {key: value for key, value in loader.items() if key not in OF_DATASET}
            cfg.train_dataloader = dict(kept, sampler=dict(type='DefaultSampler', shuffle=True), dataset=synthetic)
        elif distillation.images == 'mixed':
            cfg.train_dataloader = dict(
                loader,
                dataset=dict(type='mmengine.ConcatDataset', datasets=[real, synthetic], ignore_keys=sorted(metainfo)),
            )
        else:
            cfg.train_dataloader = dict(loader, dataset=real)
    cfg.find_unused_parameters = True  # heads, and whatever lies behind the last supervision point
    if cfg.get('model_wrapper_cfg'):
        cfg.model_wrapper_cfg.find_unused_parameters = True


def _is_prepared(dataset: dict) -> bool:
    """True for a data set that was put together here before."""
    if 'datasets' in dataset:
        return any(_is_prepared(item) for item in dataset['datasets'])
    return dataset['type'] in (SYNTHETIC, SUBSET)


def _metainfo(dataset: dict, scope: str | None) -> dict:
    """Meta information of a data set, from its config and class, without building it."""
    while inner := dataset.get('dataset') or (dataset.get('datasets') or [None])[0]:
        dataset = inner
    cls = dataset.get('type')
    if isinstance(cls, str):
        cls = DATASETS.get(cls if '.' in cls or not scope else f'{scope}.{cls}')
    return dict(getattr(cls, 'METAINFO', {}), **(dataset.get('metainfo') or {}))


def attach_images(runner: Runner, store: ImageStore) -> None:
    """Hand the synthetic images to the training set, which was built before they were made.

    Args:
        runner: Its training loop's data set is a :class:`SyntheticImages`, or a concatenation with one.
        store: What the synthesizer prepared.
    """
    dataset = runner.train_dataloader.dataset
    parts = [part for part in getattr(dataset, 'datasets', [dataset]) if isinstance(part, SyntheticImages)]
    if not parts:
        raise ConfigError(
            f'train_dataloader: {type(dataset).__name__} holds real images, but pruning.distillation learns from '
            "synthetic ones; start the run with mmprune's tools/train.py, or set pruning.distillation.images='real'"
        )
    for part in parts:
        part.attach(store, cast(nn.Module, unwrap(runner.model).data_preprocessor))
    loop = runner.train_loop
    if hasattr(loop, 'dataloader_iterator'):  # loops by iterations have started their workers already
        loop.dataloader_iterator = type(loop.dataloader_iterator)(loop.dataloader)

"""From the lines a user adds to a stock config to what mmengine's Runner understands."""

from __future__ import annotations

from mmengine.config import Config

from mmprune.engine.schedule import Schedule
from mmprune.engine.settings import Settings
from mmprune.engine.training_set import prepare_distillation
from mmprune.errors import ConfigError
from mmprune.options import build

PRUNING, SEED, REBUILD = 'mmprune.PruningHook', 'mmprune.EpochSeedHook', 'mmprune.RebuildHook'
MODELS = ('mmprune.Pruned', 'Pruned')
TRAINING = ('train_dataloader', 'train_cfg', 'optim_wrapper')
TESTING = ('test_dataloader', 'test_evaluator', 'test_cfg')


def read_settings(cfg: Config) -> Settings:
    """Build the parts of a config's ``pruning`` dict, before anything else is built.

    Raises:
        ConfigError: ``pruning`` is missing, or has unknown, wrong or contradictory values.
    """
    pruning = cfg.get('pruning')
    if not isinstance(pruning, dict):
        raise ConfigError(
            "pruning: this config has none; add e.g. pruning=dict(target='backbone', "
            "pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.3)))"
        )
    _drop_deletes(pruning)
    return build(Settings, pruning, 'pruning')


def prepare_config(cfg: Config, settings: Settings | None = None) -> Config:
    """Turn the ``pruning`` dict of a config into a hook, and its model into a loadable one; in place, idempotent.

    Done here and not by inheritance, because config inheritance replaces lists: a base's own ``custom_hooks`` survive.

    Args:
        cfg: With ``pruning``.
        settings: Those of this config, if they have been read already.

    Raises:
        ConfigError: As of :func:`read_settings`; or the rest of the config does not fit ``pruning``.
    """
    _refuse_strategies(cfg)
    if settings is None:
        settings = read_settings(cfg)
    if settings.evaluate:
        _need(cfg, TESTING, 'to evaluate the stages; to prune without evaluating set pruning.evaluate=False')
    if settings.loader is not None and cfg.get(settings.loader) is None:
        raise ConfigError(f'pruning.images: this config has no {settings.loader}')
    if settings.finetune:
        _need(cfg, TRAINING, 'to fine-tune; to prune without fine-tuning set pruning.finetune=False')
        _check_schedule(settings.schedule, cfg.train_cfg)
    if settings.distillation is not None:
        prepare_distillation(cfg, settings.distillation, settings.synthesizer)
    make_loadable_config(cfg)
    _import_mmprune(cfg)
    cfg.custom_hooks = [*_hooks_but(cfg, PRUNING, SEED), dict(type=PRUNING, **cfg.pruning), dict(type=SEED)]
    return cfg


def _hooks_but(cfg: Config, *types: str) -> list[dict]:
    """The config's own hooks without those of some types."""
    return [hook for hook in cfg.get('custom_hooks') or [] if hook.get('type') not in types]


def _drop_deletes(node: object) -> None:
    """Take ``_delete_`` out: mmengine leaves it where an option replaces what the config does not have."""
    if isinstance(node, dict):
        node.pop('_delete_', None)
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, (list, tuple)) else ():
        _drop_deletes(value)


def prepare_training_config(cfg: Config) -> Config:
    """Ready a config without ``pruning`` for ordinary training; in place, idempotent.

    Any model, or a part of it by ``init_cfg``, may be cut by what it loads.
    """
    _refuse_strategies(cfg)
    cfg.custom_hooks = [*_hooks_but(cfg, REBUILD), dict(type=REBUILD)]
    return cfg


def make_loadable_config(cfg: Config) -> Config:
    """Wrap the model type so that pruned checkpoints load; in place, idempotent."""
    model = cfg.get('model')
    if not isinstance(model, dict) or 'type' not in model:
        raise ConfigError("model: needs a `type`, e.g. model=dict(type='ImageClassifier', …)")
    if model['type'] not in MODELS:
        cfg.model = dict(type=MODELS[0], host=model['type'], **{k: v for k, v in model.items() if k != 'type'})
    return cfg


def has_weights(cfg: Config) -> bool:
    """True where the network begins with trained weights: from ``load_from``, or from a part of ``model`` itself."""
    return bool(cfg.get('load_from')) or _names_weights(cfg.get('model'))


def _names_weights(node: object) -> bool:
    """Does anything in a model's config load weights: an ``init_cfg``, or a host's ``pretrained``?"""
    if isinstance(node, dict):
        return any(node.get(key) for key in ('checkpoint', 'checkpoint_path', 'pretrained')) or any(
            map(_names_weights, node.values())
        )
    return isinstance(node, (list, tuple)) and any(map(_names_weights, node))


def _refuse_strategies(cfg: Config) -> None:
    """FlexibleRunner's strategies keep parameters in shards and flat buffers, which cannot be cut."""
    strategy = cfg.get('strategy')
    if strategy or (cfg.get('runner_type') or 'Runner') != 'Runner':
        name = strategy.get('type') if isinstance(strategy, dict) else strategy or cfg.get('runner_type')
        raise ConfigError(
            f'{"strategy" if strategy else "runner_type"}: {name!r} does not work with mmprune, which '
            'needs whole parameters (not DeepSpeed, FSDP or ColossalAI); remove strategy and '
            'runner_type, several processes use MMDistributedDataParallel'
        )


def _need(cfg: Config, keys: tuple[str, ...], purpose: str) -> None:
    missing = [key for key in keys if cfg.get(key) is None]
    if missing:
        raise ConfigError(f'{missing[0]}: missing, it is needed {purpose}')


def _check_schedule(schedule: Schedule, train_cfg: dict) -> None:
    """A schedule counts epochs, and must reach its end."""
    if schedule.steps == 1 and schedule.begin == 0:
        return
    epochs = train_cfg.get('max_epochs')
    if not isinstance(epochs, int):
        raise ConfigError(
            'pruning.schedule: counts epochs, but train_cfg counts iterations; '
            'set train_cfg.by_epoch=True and train_cfg.max_epochs'
        )
    last = schedule.begin + (schedule.steps - 1) * schedule.interval
    if last >= epochs:
        raise ConfigError(
            f'pruning.schedule: its last step is due before epoch {last} (counted from 0), but training '
            f'ends after {epochs}; lower begin, steps or interval, or raise train_cfg.max_epochs'
        )


def _import_mmprune(cfg: Config) -> None:
    """Let whoever reads the dumped config import mmprune, whose loader of checkpoints is the safe one."""
    given = cfg.get('custom_imports') or dict(imports=[], allow_failed_imports=False)
    names = [given['imports']] if isinstance(given['imports'], str) else list(given['imports'])
    if 'mmprune' not in names:
        cfg.custom_imports = dict(given, imports=[*names, 'mmprune'])

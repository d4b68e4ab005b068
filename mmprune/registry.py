"""Every registry node of mmprune.

``locations`` makes a node import its package the first time a config names one of its types, so nothing has to be
registered by hand. The first six nodes hold what only mmprune has; the others are children of mmengine's, so that
``mmprune.X`` works in any mm config whatever its ``default_scope``.
"""

from collections.abc import Mapping
from typing import TypeVar

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODEL_WRAPPERS as MMENGINE_MODEL_WRAPPERS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import VISUALIZERS as MMENGINE_VISUALIZERS
from mmengine.registry import Registry

from mmprune.errors import ConfigError
from mmprune.options import build, suggest

T = TypeVar('T')

CRITERIA = Registry('criterion', scope='mmprune', locations=['mmprune.criteria'])
ALLOCATORS = Registry('allocator', scope='mmprune', locations=['mmprune.allocators'])
PRUNERS = Registry('pruner', scope='mmprune', locations=['mmprune.pruners'])
RESTORERS = Registry('restorer', scope='mmprune', locations=['mmprune.restorers'])
GRAPHS = Registry('graph', scope='mmprune', locations=['mmprune.expanders'])
SYNTHESIZERS = Registry('synthesizer', scope='mmprune', locations=['mmprune.images'])
DISTILLATIONS = Registry('distillation', scope='mmprune', locations=['mmprune.distillation'])

MODELS = Registry('model', parent=MMENGINE_MODELS, scope='mmprune', locations=['mmprune.models'])
MODEL_WRAPPERS = Registry(
    'model_wrapper', parent=MMENGINE_MODEL_WRAPPERS, scope='mmprune', locations=['mmprune.distillation']
)
DATASETS = Registry('dataset', parent=MMENGINE_DATASETS, scope='mmprune', locations=['mmprune.datasets'])
TRANSFORMS = Registry('transform', parent=MMENGINE_TRANSFORMS, scope='mmprune', locations=['mmprune.datasets'])
HOOKS = Registry('hook', parent=MMENGINE_HOOKS, scope='mmprune', locations=['mmprune.engine.hooks'])
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope='mmprune', locations=['mmprune.engine'])
METRICS = Registry('metric', parent=MMENGINE_METRICS, scope='mmprune', locations=['mmprune.measure'])
VISUALIZERS = Registry('visualizer', parent=MMENGINE_VISUALIZERS, scope='mmprune', locations=['mmprune.report'])


def build_part(registry: Registry, cfg: str | dict | T, key: str) -> T:
    """One of mmprune's parts from its name or its dict; an instance is handed through.

    Args:
        registry: One of the registries above.
        cfg: ``'L2Norm'``, ``dict(type='L2Norm', …)`` or an instance.
        key: Where the part stands, which messages begin with: 'pruning.pruner' in a config, 'criterion' in a part's
            constructor (whoever builds that part puts its own key before it).

    Raises:
        ConfigError: Unknown type, unknown or missing argument, bad value.
    """
    if isinstance(cfg, str):
        cfg = dict(type=cfg)
    if not isinstance(cfg, Mapping):
        if cfg is None or isinstance(cfg, (type, bool, int, float, bytes, list, tuple, set)):
            raise ConfigError(f'{key}: a name such as {_example(registry)!r} or dict(type=…), got {cfg!r:.80}')
        return cfg
    options = dict(cfg)
    name = options.pop('type', None)
    if not isinstance(name, str):
        raise ConfigError(f'{key}.type: missing, e.g. dict(type={_example(registry)!r}, …), got {cfg!r:.120}')
    registry.import_from_location()
    part = registry.module_dict.get(name.removeprefix(f'{registry.scope}.'))
    if part is None:
        hint = suggest(name, registry.module_dict, 'there are')
        raise ConfigError(f'{key}.type: {registry.name} {name!r:.80} is unknown{hint}')
    return build(part, options, key)


def _example(registry: Registry) -> str:
    registry.import_from_location()
    return next(iter(registry.module_dict), '…')

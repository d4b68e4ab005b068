"""Model type of every config that may load a pruned checkpoint: the host's own model, which takes its structure."""

from __future__ import annotations

from typing import Any

from torch import nn

from mmprune.checkpoint.state import make_strict
from mmprune.errors import ConfigError
from mmprune.models.published import published_keys_of, rename_published
from mmprune.registry import MODELS


@MODELS.register_module(name='Pruned')
def build_pruned(host: str | type, strict: bool = True, **kwargs: Any) -> nn.Module:
    """Build the plain host model, which cuts itself to the structure of the checkpoint it loads.

    ``model = dict(type='mmprune.Pruned', host='RetinaNet')`` on top of an inherited config changes nothing else: what
    is built *is* a RetinaNet, with the state-dict keys of one.

    Args:
        host: The model's own type, e.g. 'ImageClassifier' or 'mmdet.FasterRCNN'.
        strict: Whether dense checkpoints must fit completely, too. False leaves them to the host, which loads what
            fits and warns. Checkpoints of pruned networks always must.
        kwargs: Everything else in the model's config.

    Raises:
        ConfigError: The host's type is missing.
    """
    if not isinstance(host, (str, type)):
        raise ConfigError(f"model.host: needs the host model's type, e.g. 'RetinaNet', got {host!r:.80}")
    model = MODELS.build(dict(type=host, **kwargs))
    if published_keys_of(model):
        model.register_load_state_dict_pre_hook(_rename)
    if strict:
        make_strict(model)
    return model


def _rename(model: nn.Module, state: dict, prefix: str, *_: Any) -> None:
    """Let published checkpoints load under the names that their authors gave; host names are left alone."""
    if prefix:
        return
    own = set(model.state_dict(keep_vars=True))
    renamed = rename_published(state, published_keys_of(model))
    if len(own & set(renamed)) > len(own & set(state)):
        state.clear()
        state.update(renamed)

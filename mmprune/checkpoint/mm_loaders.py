"""Everything that touches mmengine: its loaders read safely, and never half-load a pruned checkpoint."""

from __future__ import annotations

from collections import OrderedDict

from mmengine.runner import checkpoint as host_checkpoints
from mmengine.runner.checkpoint import CheckpointLoader

from mmprune.checkpoint.reading import download, is_trusted, read_checkpoint
from mmprune.checkpoint.state import KEY
from mmprune.errors import CheckpointError

HOW_TO_LOAD = (
    "build the model with model=dict(type='mmprune.Pruned', host=<the model's type>, …), as in the config "
    'beside the checkpoint, or use mmprune.load(model, path)'
)


class _GuardedMetadata(OrderedDict):
    """State-dict metadata that raises when a model reads past a structure without having understood it.

    mmengine's ``load_checkpoint`` only warns about wrong shapes. Loaders ask for the metadata of a module before that
    of its children; a module that was made loadable says in between that it took the structure.
    """

    def __init__(self, metadata: dict = ()) -> None:
        super().__init__(metadata)
        self.ignored = {prefix for prefix, entry in self.items() if KEY in entry}

    def __reduce__(self) -> tuple:
        return OrderedDict, ([(prefix, dict(entry)) for prefix, entry in self.items()],)  # saved as PyTorch's own

    def __deepcopy__(self, memo: dict) -> _GuardedMetadata:
        return _GuardedMetadata({prefix: dict(entry) for prefix, entry in self.items()})

    def get(self, key: str, default: object = None) -> object:  # noqa: D102 - as dict.get
        value = super().get(key, default)
        if key in self.ignored:
            return {**value, f'{KEY}_guard': lambda: self.ignored.discard(key)}
        if any(not prefix or key.startswith(f'{prefix}.') for prefix in self.ignored):
            raise CheckpointError(
                f'this checkpoint is of a pruned network, and this model cannot take its structure: {HOW_TO_LOAD}'
            )
        return value


#: What mmengine's other loaders (``torchvision://``, ``s3://``, …) read with; its own falls back to running code.
host_checkpoints._safe_torch_load = lambda file, map_location=None, weights_only=None: read_checkpoint(
    file, map_location
)


@CheckpointLoader.register_scheme(prefixes='', force=True)
def load_from_local(filename: str, map_location: object = None) -> dict:
    """Mmengine's loader of local files, safe, and guarding pruned checkpoints against models that ignore structure.

    Configs inside the checkpoint are dropped: mmengine would execute them when it resumes or infers.
    """
    checkpoint = read_checkpoint(filename, map_location)
    if not is_trusted():
        for holder in (checkpoint.get('meta'), (checkpoint.get('message_hub') or {}).get('runtime_info')):
            for key in ('config', 'cfg'):
                if isinstance(holder, dict):
                    holder.pop(key, None)
    for holder in (checkpoint, checkpoint.get('state_dict'), checkpoint.get('ema_state_dict')):
        metadata = getattr(holder, '_metadata', None)
        if metadata and any(KEY in entry for entry in metadata.values()):
            holder._metadata = _GuardedMetadata(metadata)
    return checkpoint


@CheckpointLoader.register_scheme(prefixes=('http://', 'https://'), force=True)
def load_from_http(filename: str, map_location: object = None, model_dir: str | None = None) -> dict:
    """Mmengine's loader of published files, fetched once and then read like local ones."""
    return load_from_local(str(download(filename, model_dir)), map_location)

"""Complaints of hosts and files as one line that names the key of the config which they are about."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

from mmengine.config import Config
from torch.utils.data import Dataset

from mmprune.checkpoint.reading import out_of_reach
from mmprune.errors import CheckpointError, ConfigError, StructureError

#: Keys of a config that name something registered.
TYPES = ('type', 'host')


@contextmanager
def explained(cfg: Config, source: str) -> Iterator[None]:
    """Say which key of the config a complaint is about, where its message does not.

    Args:
        cfg: Where to look for what a host library names.
        source: Key and path of the checkpoint that is loaded.
    """
    try:
        yield
    except (CheckpointError, StructureError) as error:
        key, _, path = source.partition(': ')
        raise CheckpointError(f'{key if path in str(error) else source}: {error}') from error
    except URLError as error:
        key, _, path = source.partition(': ')
        raise ConfigError(_dataset_out_of_reach(cfg, error) or f'{key}: {out_of_reach(path, error)}') from error
    except KeyError as error:
        if not (match := re.search(r'(\S+) is not in the (\S+) registry', str(error))):
            if refused := _refused_arguments(cfg, error):
                raise refused from error
            raise
        name = match[1].strip('\'"')
        raise ConfigError(
            f'{_find(cfg, name, TYPES) or "type"}: {name!r} is not registered in {match[2]}; check its '
            'spelling and scope (mmdet.…, mmpretrain.…, mmprune.…)'
        ) from error
    except TypeError as error:
        match = re.match(r'(\w+)(?:\.__init__)?\(\) ((?:got an|missing) .*)', str(error))
        key = _find(cfg, match[1], TYPES) if match else ''
        if not match or not key:
            raise
        raise ConfigError(f'{key.rpartition(".")[0]}: {match[1]} {match[2]}') from error
    except (ValueError, AssertionError) as error:
        if refused := _refused_arguments(cfg, error):
            raise refused from error
        raise
    except FileNotFoundError as error:
        key, _, path = source.partition(': ')
        if error.filename or path not in str(error):
            key = _find(cfg, str(error.filename)) if error.filename else ''
        raise FileNotFoundError(f'{key}: {error}' if key else str(error)) from error


def _refused_arguments(cfg: Config, error: Exception) -> ConfigError | None:
    """One line on what the constructor of a part of the config refused; None if none raised this."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    part = type(frame.f_locals.get('self'))
    key = _find(cfg, part.__name__, TYPES).rpartition('.')[0]
    if isinstance(error, ConfigError) or frame.f_code.co_name != '__init__' or not key:
        return None
    text = str(error.args[0] if error.args else error)
    depths = getattr(part, 'arch_settings', None)
    known = f'; there are {", ".join(map(str, depths))}' if isinstance(depths, dict) and 'depth' in text else ''
    return ConfigError(f'{key}: {part.__name__}: {text}{known}')


def _dataset_out_of_reach(cfg: Config, error: URLError) -> str:
    """One line on the data set that wanted to fetch its files; empty if none did."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        owner = frame.f_locals.get('self')
        if isinstance(owner, Dataset):
            name = type(owner).__name__
            root = getattr(owner, 'data_root', None) or getattr(owner, 'root', '')
            key = _find(cfg, name, TYPES).rpartition('.')[0] or 'dataset'
            return (
                f'{key}: {name} is not in data_root={root!r} and cannot be fetched ({error.reason}); put its files '
                f'there: {getattr(owner, "url", "see its documentation")}'
            )
    return ''


def _find(node: object, value: str, names: tuple[str, ...] = (), path: str = '') -> str:
    """Path of the first key that holds a type (``names`` of such keys) or the end of ``value``; '' if none does."""
    if isinstance(node, (Config, dict)):
        items = [(f'{path}.{key}' if path else key, item) for key, item in node.items()]
    elif isinstance(node, (list, tuple)):
        items = [(f'{path}[{i}]', item) for i, item in enumerate(node)]
    else:
        same = (
            isinstance(node, str)
            and bool(node)
            and (node.rpartition('.')[2] == value.rpartition('.')[2] if names else value.endswith(node))
        )
        return path if same and (not names or path.rpartition('.')[2] in names) else ''
    return next((found for key, item in items if (found := _find(item, value, names, key))), '')

"""Files that are broken, swapped or made to harm, and what is asked of whoever reads them."""

import copy
import io
import json
import math
import os
import pickle
import random
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from mmengine.runner import load_checkpoint
from torch import nn

import mmprune
from mmprune.checkpoint.reading import read_checkpoint
from mmprune.checkpoint.record import KEY
from mmprune.checkpoint.state import make_strict
from mmprune.criteria.redundancy import load_information
from mmprune.errors import CheckpointError, StructureError
from mmprune.images import ImageStore
from mmprune.report.report import Report
from tests.test_trust.fuzz import VALUES
from tests.test_trust.small import EXAMPLE, UNIFORM, images, network

Case = tuple[str, Callable[[], None]]


def pruned_checkpoint() -> bytes:
    """A checkpoint of mmprune's with everything in it."""
    model = network()
    mmprune.prune(model, EXAMPLE, pruner=dict(type='ChannelPruner', allocator=UNIFORM))
    with TemporaryDirectory() as folder:
        return mmprune.save(model, f'{folder}/pruned.pth', {'epoch': 1, 'note': 'x'}).read_bytes()


# ---- bytes ---------------------------------------------------------------------------------------------------------


def spoilt(draw: random.Random, data: bytes, other: bytes) -> tuple[str, bytes]:
    """The bytes with something done to them, and what."""
    at, length = draw.randrange(len(data)), draw.choice((1, 4, 64, 1000))
    flipped = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 20))):
        position = draw.randrange(8 * len(data))
        flipped[position // 8] ^= 1 << position % 8
    return draw.choice(
        (
            (f'cut at {at}', data[:at]),
            ('flipped', bytes(flipped)),
            ('flipped', bytes(flipped)),
            (f'zeros at {at}', data[:at] + bytes(length) + data[at + length :]),
            (f'noise at {at}', data[:at] + draw.randbytes(length) + data[at + length :]),
            (f'lost at {at}', data[:at] + data[at + length :]),
            (f'more at {at}', data[:at] + bytes(length) + data[at:]),
            (f'turned at {at}', data[at:] + data[:at]),
            (f'swapped at {at}', data[:at] + other[at:]),
            ('without a start', data[at:]),
            ('two in one', data + other),
        )
    )


def byte_cases(seed: int, data: bytes) -> Iterator[Case]:
    """Damaged checkpoints: an error, or bit by bit the network that was saved. Never ends."""
    draw = random.Random(seed)
    with io.BytesIO() as file:
        torch.save({'state_dict': network().state_dict(), 'meta': {}}, file)
        other = file.getvalue()
    while True:
        name, content = spoilt(draw, data, other)
        yield name, _loaded(content, data, other)


def _loaded(content: bytes, *originals: bytes) -> Callable[[], None]:
    def case() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, 'a.pth')
            path.write_bytes(content)
            model = mmprune.load(network(), path)
        found = model.state_dict()
        for original in originals:
            state = read_checkpoint(io.BytesIO(original))['state_dict']
            if all(key in found and torch.equal(value, found[key]) for key, value in state.items()):
                return
        raise AssertionError('other weights were loaded than were saved')

    return case


# ---- contents ------------------------------------------------------------------------------------------------------


def odd_tensors() -> list:
    """What a checkpoint may hold in place of a tensor."""
    return [
        torch.zeros(2).to_sparse(),
        torch.empty(8, 3, 3, 3, device='meta'),
        torch.zeros(0),
        torch.tensor(5),
        torch.zeros(1).expand(2**20, 2**20),
        torch.zeros(4, dtype=torch.bool),
        OrderedDict(a=1),
        torch.Size([3]),
        nn.Parameter(torch.zeros(3)),
    ]


def laughs() -> list:
    """A hundred bytes in a file, 10^30 items for who walks through them."""
    value: list = ['ha']
    for _ in range(30):
        value = [value] * 10
    return value


def content_cases(seed: int, data: bytes) -> Iterator[Case]:
    """Checkpoints with one entry replaced or lost, read in both ways: an error or a network. Never ends."""
    draw = random.Random(seed)
    replacements = [*(value for value in VALUES if value is not object), *odd_tensors(), laughs()]
    while True:
        checkpoint = read_checkpoint(io.BytesIO(data))
        holder, keys, path = checkpoint, [*checkpoint], []
        while True:
            key = draw.choice(keys)
            path.append(str(key))
            inner = holder._metadata if key == '_metadata' else holder[key]
            if not isinstance(inner, dict) or not inner or draw.random() < 0.3:
                break
            holder, keys = inner, [*inner, *(['_metadata'] if hasattr(inner, '_metadata') else [])]
        value = draw.choice(replacements)
        if key == '_metadata':
            holder._metadata = value
        elif draw.random() < 0.1:
            del holder[key]
        else:
            holder[draw.choice((key, key, key, 5, 'new', ''))] = value
        with io.BytesIO() as file:
            torch.save(checkpoint, file)
            yield f'{".".join(path)} = {str(type(value))}', _usable(file.getvalue())


def _usable(content: bytes) -> Callable[[], None]:
    def case() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, 'a.pth')
            path.write_bytes(content)
            loaded, refused = [], []
            for load in (mmprune.load, lambda model, path: load_checkpoint(model, str(path))):
                model = network()
                make_strict(model)
                try:
                    load(model, path)
                    loaded.append(model.eval()(images()[0]))
                except (CheckpointError, StructureError) as error:
                    refused.append(error)
                except Exception as error:
                    if load is mmprune.load or KEY.encode() in content:
                        raise
                    refused.append(CheckpointError(f'{error} (as mmengine says it: no checkpoint of ours)'))
        if refused:
            raise refused[0]
        assert all(isinstance(module, nn.Module) for module in model.modules())

    return case


def structure_cases(seed: int, data: bytes) -> Iterator[Case]:
    """Checkpoints whose record of kept channels was changed. Never ends."""
    draw = random.Random(seed)
    text = read_checkpoint(io.BytesIO(data))['state_dict']._metadata[''][KEY]
    values = [
        *(value for value in VALUES if value is not object and value != b'x'),
        10**12,
        [0, 10**12],
        [-1],
        list(range(8)),
        [0, 0],
        [1, 0],
        '0' * 5000,
    ]
    while True:
        raw = json.loads(text)
        holder, key = raw, draw.choice([*raw])
        while isinstance(holder[key], dict) and holder[key] and draw.random() < 0.9:
            holder = holder[key]
            key = draw.choice([*holder])
        value = draw.choice(values)
        holder[draw.choice((key, key, key, 'new', 'in', 'out'))] = copy.deepcopy(value)
        changed = draw.choice(
            (
                json.dumps(raw),
                json.dumps(raw),
                json.dumps(raw)[: draw.randrange(len(text))],
                '[' * 10**5,
                '9' * 5000,
                '',
                'null',
                json.dumps({**raw, 'version': 2}),
            )
        )
        checkpoint = read_checkpoint(io.BytesIO(data))
        checkpoint['state_dict']._metadata[''][KEY] = changed
        with io.BytesIO() as file:
            torch.save(checkpoint, file)
            yield f'{key} = {value!r:.50}: {changed[:30]}', _usable(file.getvalue())


# ---- archives that claim much --------------------------------------------------------------------------------------


def claims(data: bytes) -> Iterator[Case]:
    """Archives whose records claim to be large; memory stays bounded."""

    def rewritten(change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
        with io.BytesIO() as file, zipfile.ZipFile(io.BytesIO(data)) as old:
            with zipfile.ZipFile(file, 'w', method) as new:
                for entry in old.infolist():
                    new.writestr(entry.filename, change(entry.filename, old.read(entry)))
            return file.getvalue()

    def larger(name: str, content: bytes) -> bytes:
        """Sizes of one byte in the pickle become sizes of eight."""
        huge = b'\x8a\x08' + struct.pack('<q', 2**40)
        return content.replace(b'K\x04', huge) if name.endswith('.pkl') else content

    def bomb(name: str, content: bytes) -> bytes:
        return bytes(10**7) if '/data/' in name else content

    def same(name: str, content: bytes) -> bytes:
        return content

    directory = data.rfind(b'PK\x01\x02')
    for name, content in (
        ('sizes of 2^40', rewritten(larger)),
        ('bomb', rewritten(bomb, zipfile.ZIP_DEFLATED)),
        ('deflated', rewritten(same, zipfile.ZIP_DEFLATED)),
        ('directory of 4 GB', data[: directory + 20] + b'\xfe\xff\xff\xff\xfe\xff\xff\xff' + data[directory + 28 :]),
    ):
        yield name, _refused(content)
    with io.BytesIO() as file:
        torch.save({'state_dict': {'0.weight': torch.zeros(10)}}, file, _use_new_zipfile_serialization=False)
        legacy = file.getvalue()
    yield 'old format of 2^40', _refused(legacy.replace(b'K\n', b'\x8a\x08' + struct.pack('<q', 2**40)))


def _refused(content: bytes) -> Callable[[], None]:
    def case() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, 'a.pth')
            path.write_bytes(content)
            mmprune.load(network(), path)
        raise AssertionError('was taken for a checkpoint')

    return case


# ---- code ----------------------------------------------------------------------------------------------------------


class Trap:
    """Pickles as a call."""

    def __init__(self, function: Callable, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def traps(folder: Path, data: bytes) -> Iterator[tuple[str, bytes]]:
    """Checkpoints that would make the file ``executed`` in the folder, if anything in them ran."""
    target = str(folder / 'executed')
    shell = f'touch {target}'
    for name, trap in (
        ('os.system', Trap(os.system, shell)),
        ('open', Trap(open, target, 'w')),
        ('eval', Trap(eval, f'open({target!r}, "w")')),
        ('exec', Trap(exec, f'open({target!r}, "w")')),
        ('torch.load', Trap(torch.load, target)),
        ('Path.touch', Trap(Path.touch, Path(target))),
        ('torch.save', Trap(torch.save, {}, target)),
        ('getattr', Trap(getattr, Path, 'touch')),
        ('mkdir', Trap(os.mkdir, target)),
    ):
        for place in ('meta', 'state_dict', 'inside', 'everything'):
            for modern in (True, False):
                checkpoint = read_checkpoint(io.BytesIO(data))
                if place == 'inside':
                    checkpoint['state_dict']['0.weight'] = trap
                elif place == 'everything':
                    checkpoint = trap
                else:
                    checkpoint[place] = trap
                with io.BytesIO() as file:
                    torch.save(checkpoint, file, _use_new_zipfile_serialization=modern)
                    yield f'{name} in {place}, {"zip" if modern else "legacy"}', file.getvalue()
        yield f'{name}, bare pickle', pickle.dumps({'state_dict': trap})


# ---- other files ---------------------------------------------------------------------------------------------------


def json_cases(seed: int, folder: Path) -> Iterator[Case]:
    """Reports, pruning information and image sets whose JSON was spoilt. Never ends."""
    draw = random.Random(seed)
    model = network()
    report = mmprune.prune(
        model,
        EXAMPLE,
        pruner=dict(type='ChannelPruner', allocator=UNIFORM),
        evaluate=lambda: {'accuracy': 0.5, 'nothing': math.nan},
    )
    store = ImageStore.create(folder / 'sets', 'abc', dict(num_images=4, batch_size=2, shape=(3, 8, 8)))
    information = {
        'version': 1,
        'threshold': 0.7,
        'groups': {'0': {'layers': ['0'], 'total': 3, 'kept': [0, 2], 'order': [1, 0, 2]}},
    }
    readers = (
        ('report', report.to_dict(), lambda path: str(Report.load(path))),
        ('information', information, load_information),
        ('images', store.meta, lambda path: ImageStore(path.parent).missing()),
    )
    while True:
        name, content, read = draw.choice(readers)
        content = json.loads(json.dumps(content))
        holder, key = content, draw.choice([*content])
        while isinstance(holder[key], (dict, list)) and holder[key] and draw.random() < 0.9:
            holder = holder[key]
            key = draw.choice([*holder]) if isinstance(holder, dict) else draw.randrange(len(holder))
        value = draw.choice([*(value for value in VALUES if value is not object and value != b'x'), 10**12])
        holder[key] = value
        text = json.dumps(content)
        text = draw.choice((text, text, text[: draw.randrange(len(text))], '[' * 10**5, '5', '[]'))
        yield f'{name}.{key} = {value!r:.50}: {text[:20]}', _read(text, read)


def _read(text: str, read: Callable[[Path], object]) -> Callable[[], None]:
    def case() -> None:
        with TemporaryDirectory() as folder:
            path = Path(folder, 'meta.json')
            path.write_text(text)
            try:
                read(path)
            except ValueError as error:
                raise CheckpointError(str(error)) from error

    return case

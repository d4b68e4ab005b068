"""What was kept of a network: a versioned, validated record that travels inside its state dict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.errors import StructureError
from mmprune.surgery.slicing import Undo, keep_inputs, keep_outputs, sync_wrappers, widths

VERSION = 1
#: Widths beyond this are no widths.
LARGEST = 2**31


@dataclass
class Cut:
    """What one module kept: sorted channel indices of the dense module, ``None`` where nothing was removed."""

    dense: tuple[int, int]
    outputs: Tensor | None = None
    inputs: Tensor | None = None


@dataclass
class Structure:
    """Kept indices per module name, relative to the dense network that the config builds."""

    modules: dict[str, Cut] = field(default_factory=dict)

    def record(
        self, name: str, module: nn.Module, outputs: Tensor | None = None, inputs: Tensor | None = None
    ) -> None:
        """Note that ``module`` (still of its old widths) keeps these channels; earlier cuts are composed with."""
        cut = self.modules.setdefault(name, Cut(dense=widths(module)))
        if outputs is not None:
            cut.outputs = outputs if cut.outputs is None else cut.outputs[outputs]
        if inputs is not None:
            cut.inputs = inputs if cut.inputs is None else cut.inputs[inputs]

    def apply(self, model: nn.Module) -> None:
        """Cut a dense (or already identically cut) network down to this structure, in place.

        Raises:
            StructureError: A module is missing or has other widths; the network is then left untouched.
        """
        plan = []
        modules = dict(model.named_modules())
        for name, cut in self.modules.items():
            module = modules.get(name)
            if module is None:
                raise StructureError(f'the structure names the module {name!r}, which this network does not have')
            have = _widths_or_none(module)
            kept = tuple(
                dense if index is None else len(index) for dense, index in zip(cut.dense, (cut.outputs, cut.inputs))
            )
            if have == self._after(cut, module):
                continue
            if have != tuple(cut.dense):
                raise StructureError(
                    f'{name}: the structure keeps {kept} of (out, in) = {tuple(cut.dense)} channels, '
                    f'but this network has {have}'
                )
            plan.append((module, cut))
        undo = Undo()
        try:
            for module, cut in plan:
                if cut.inputs is not None:
                    keep_inputs(module, cut.inputs, undo)
                if cut.outputs is not None:
                    keep_outputs(module, cut.outputs, undo)
            sync_wrappers(model, undo)
        except Exception as error:
            undo.take_back()
            raise StructureError(f'the structure cannot be applied: {error}') from error

    @staticmethod
    def _after(cut: Cut, module: nn.Module) -> tuple[int, int]:
        outputs = cut.dense[0] if cut.outputs is None else len(cut.outputs)
        inputs = cut.dense[1] if cut.inputs is None else len(cut.inputs)
        groups = getattr(module, 'groups', 1)
        is_depthwise = cut.inputs is None and groups == getattr(module, 'in_channels', 0) == module.out_channels
        if is_depthwise or not isinstance(module, (nn.Linear, _ConvNd)):
            inputs = outputs  # norms and depthwise convs have one width
        return outputs, inputs

    def to_json(self) -> str:
        """One line of JSON: ``{"version": 1, "modules": {name: {"dense": [out, in], "out": […], "in": […]}}}``."""
        modules = {}
        for name, cut in self.modules.items():
            entry: dict[str, list[int]] = {'dense': list(cut.dense)}
            if cut.outputs is not None:
                entry['out'] = cut.outputs.tolist()
            if cut.inputs is not None:
                entry['in'] = cut.inputs.tolist()
            modules[name] = entry
        return json.dumps({'version': VERSION, 'modules': modules}, separators=(',', ':'))

    @classmethod
    def from_json(cls, text: str) -> Structure:
        """Read and validate what :meth:`to_json` wrote.

        Raises:
            StructureError: Not JSON, an unknown version, or indices that are unsorted, repeated or out of range.
        """
        try:
            raw = json.loads(text)
            version, modules = raw['version'], raw['modules']
        except RecursionError as error:
            raise StructureError('not a structure: nested too deep') from error
        except (TypeError, KeyError, ValueError) as error:
            raise StructureError(f'not a structure: {error!r:.200}') from error
        if version != VERSION:
            raise StructureError(f'structure version {version!r:.40} is unknown, this mmprune reads version {VERSION}')
        if not isinstance(modules, dict):
            raise StructureError('structure: "modules" must map module names to kept indices')
        return cls({name: _read_cut(name, entry) for name, entry in modules.items()})

    def __bool__(self) -> bool:
        return bool(self.modules)


def _widths_or_none(module: nn.Module) -> tuple[int, int] | None:
    try:
        return widths(module)
    except AttributeError:
        return None


def _read_cut(name: str, entry: object) -> Cut:
    if not isinstance(entry, dict) or not _is_ints(entry.get('dense'), 2) or max(entry['dense']) > LARGEST:
        raise StructureError(f'structure of {name}: needs "dense": [outputs, inputs], got {entry!r:.80}')
    dense = tuple(entry['dense'])
    kept = {}
    for key, size in (('out', dense[0]), ('in', dense[1])):
        if key not in entry:
            continue
        values = entry[key]
        if not _is_ints(values) or not values:
            raise StructureError(f'structure of {name}: "{key}" must be a non-empty list of indices')
        if any(b <= a for a, b in zip(values, values[1:])) or values[0] < 0 or values[-1] >= size:
            raise StructureError(
                f'structure of {name}: "{key}" must rise within [0, {size}), got {values[0]} … {values[-1]}'
            )
        kept[key] = torch.tensor(values)
    return Cut(dense, kept.get('out'), kept.get('in'))


def _is_ints(values: object, length: int | None = None) -> bool:
    return (
        isinstance(values, list)
        and (length is None or len(values) == length)
        and all(type(value) is int for value in values)
    )

"""Structure of a pruned network: a versioned, validated record of kept channels that travels inside its state dict."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.errors import StructureError
from mmprune.surgery.slicing import Undo, keep_inputs, keep_outputs, sync_noted_widths, tells_width, widths

VERSION = 1
#: Widths beyond this are no widths.
LARGEST = 2**31


@dataclass
class KeptChannels:
    """Channels that one module kept, as sorted indices of the dense module's; ``None`` where nothing was removed.

    Attributes:
        dense: Channels of the dense module (outputs, inputs).
        outputs: Kept output channels, shape (number kept,).
        inputs: Kept input channels, likewise.
    """

    dense: tuple[int, int]
    outputs: Tensor | None = None
    inputs: Tensor | None = None

    def after(self, module: nn.Module) -> tuple[int, int]:
        """Widths (outputs, inputs) of the module once it is cut."""
        outputs, inputs = (
            dense if index is None else len(index) for dense, index in zip(self.dense, (self.outputs, self.inputs))
        )
        return outputs, outputs if self._has_one_width(module) else inputs

    def _has_one_width(self, module: nn.Module) -> bool:
        """Norms and depthwise convs; a grouped conv that lost inputs of its own is none, whatever it looks like."""
        groups = getattr(module, 'groups', 1)
        is_depthwise = self.inputs is None and groups == getattr(module, 'in_channels', 0) == module.out_channels
        return is_depthwise or not isinstance(module, (nn.Linear, _ConvNd))

    def as_now(self, module: nn.Module) -> KeptChannels | None:
        """The part of this record that is true of the module that stands in its place now; None if nothing is.

        A side of another width belongs to a new layer, of which the dense network has one as wide.
        """
        now = widths_of(module)
        if now is None:
            return None
        if now == self.after(module):
            return self
        sides, dense = [self.outputs, self.inputs], list(self.dense)
        for side, width in enumerate(now):
            index = sides[0 if self._has_one_width(module) else side]
            if index is None or len(index) != width:
                sides[side], dense[side] = None, width
        if self._has_one_width(module):
            sides[1] = None
        return None if sides == [None, None] else KeptChannels((dense[0], dense[1]), *sides)

    def is_same(self, other: KeptChannels) -> bool:
        """Equal channels of equal dense modules."""
        pairs = ((self.outputs, other.outputs), (self.inputs, other.inputs))
        return self.dense == other.dense and all(
            one is two or (one is not None and two is not None and torch.equal(one, two)) for one, two in pairs
        )


@dataclass
class Structure:
    """Kept indices per module name, relative to the dense network that the config builds.

    Attributes:
        modules: By the module's name in the network.

    Example:
        >>> structure = Structure()
        >>> structure.record('conv1', model.conv1, outputs=torch.tensor([0, 2]))
        >>> Structure.from_json(structure.to_json()).apply(other_dense_model)
    """

    modules: dict[str, KeptChannels] = field(default_factory=dict)

    def record(
        self, name: str, module: nn.Module, outputs: Tensor | None = None, inputs: Tensor | None = None
    ) -> None:
        """Note the channels that a module will keep; composed with what was cut earlier.

        Args:
            name: Its name in the network.
            module: Still of its old widths.
            outputs: Indices of its present output channels, sorted; None keeps all.
            inputs: Likewise of its input channels.
        """
        kept = self.modules.get(name) or KeptChannels(dense=widths(module))
        if outputs is not None:
            outputs = outputs if kept.outputs is None else kept.outputs[outputs]
        if inputs is not None:
            inputs = inputs if kept.inputs is None else kept.inputs[inputs]
        self.modules[name] = KeptChannels(
            kept.dense, kept.outputs if outputs is None else outputs, kept.inputs if inputs is None else inputs
        )

    def part(self, name: str) -> Structure:
        """The structure of one module of the network, '' being all of it."""
        start = f'{name}.' if name else ''
        inside = {key[len(start) :]: kept for key, kept in self.modules.items() if key.startswith(start)}
        return Structure({'': self.modules[name], **inside} if name in self.modules else inside)

    def apply(self, model: nn.Module) -> Undo:
        """Cut a network down to this structure, in place.

        Args:
            model: Dense, or cut to this very structure already.

        Returns:
            What takes it back.

        Raises:
            StructureError: A module is missing or has other widths; the network is then left untouched.
        """
        plan = []
        modules = dict(model.named_modules())
        for name, kept in self.modules.items():
            module = modules.get(name)
            if module is None:
                raise StructureError(f'the structure names the module {name!r}, which this network does not have')
            have = widths_of(module)
            if have is not None and have == kept.after(module):
                continue
            if have != tuple(kept.dense):
                sizes = tuple(
                    dense if index is None else len(index)
                    for dense, index in zip(kept.dense, (kept.outputs, kept.inputs))
                )
                raise StructureError(
                    f'{name}: the structure keeps {sizes} of (out, in) = {tuple(kept.dense)} channels, '
                    f'but this network has {have}'
                )
            plan.append((module, kept))
        undo = Undo()
        try:
            for module, kept in plan:
                if kept.inputs is not None:
                    keep_inputs(module, kept.inputs, undo)
                if kept.outputs is not None:
                    keep_outputs(module, kept.outputs, undo)
            sync_noted_widths(model, undo)
            undo.make_final()
        except Exception as error:
            undo.take_back()
            raise StructureError(f'the structure cannot be applied: {error}') from error
        return undo

    def to_json(self) -> str:
        """One line of JSON: ``{"version": 1, "modules": {name: {"dense": [out, in], "out": […], "in": […]}}}``."""
        modules = {}
        for name, kept in self.modules.items():
            entry: dict[str, list[int]] = {'dense': list(kept.dense)}
            if kept.outputs is not None:
                entry['out'] = kept.outputs.tolist()
            if kept.inputs is not None:
                entry['in'] = kept.inputs.tolist()
            modules[name] = entry
        return json.dumps({'version': VERSION, 'modules': modules}, separators=(',', ':'))

    @classmethod
    def from_json(cls, text: str) -> Structure:
        """A structure from its line of JSON, validated.

        Args:
            text: As :meth:`to_json` writes it.

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
        return cls({name: _read_kept(name, entry) for name, entry in modules.items()})

    def __bool__(self) -> bool:
        return bool(self.modules)


def widths_of(module: nn.Module) -> tuple[int, int] | None:
    """(outputs, inputs) of a layer that can be cut; None for any other module, also if it notes its layers' widths."""
    if not isinstance(module, (nn.Linear, _ConvNd)) and module._modules and not tells_width(module):
        return None
    try:
        return widths(module)
    except AttributeError:
        return None


def _read_kept(name: str, entry: Any) -> KeptChannels:
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
    return KeptChannels(dense, kept.get('out'), kept.get('in'))


def _is_ints(values: Any, length: int | None = None) -> bool:
    return (
        isinstance(values, list)
        and (length is None or len(values) == length)
        and all(type(value) is int for value in values)
    )

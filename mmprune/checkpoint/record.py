"""The record of what a network kept, on the network itself: as it is when asked, not only as it was when cut.

Every layer that was cut carries its own record, and every module above it one of the layers below. So a part that is
saved alone, or put into another network, has its record with it, and a layer that was replaced is known by its place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from mmprune.surgery.structure import KeptChannels, Structure, widths_of

KEY = 'mmprune'


def structure_of(model: nn.Module) -> Structure | None:
    """The channels that a network's layers have kept of the dense ones, as it stands.

    Layers that were replaced since they were cut are recorded with their present widths, removed ones are not, and one
    that took the place of others (re-parametrised branches, a fused norm) has the record that these share.

    Args:
        model: Pruned or not.

    Returns:
        None if nothing of it is pruned.
    """
    modules, noted = dict(model.named_modules()), _records(model)
    found = {}
    for name, module in modules.items():
        kept = _records(module).get('') or noted.get(name)
        now = kept and kept.as_now(module)
        if now:
            found[name] = now
    gone = {name: kept for name, kept in noted.items() if name not in modules or widths_of(modules[name]) is None}
    if gone:
        for name, module in modules.items():
            if name not in found and '_mmprune_structure' not in vars(module) and widths_of(module):
                heir = _inherited(name, module, found, gone)
                if heir:
                    found[name] = heir
    order = {name: number for number, name in enumerate(modules)}
    return Structure(dict(sorted(found.items(), key=lambda item: order[item[0]]))) if found else None


def _records(module: nn.Module) -> Mapping[str, KeptChannels]:
    structure = vars(module).get('_mmprune_structure')  # compiled modules hand out attributes of what they wrap
    return structure.modules if isinstance(structure, Structure) else {}


def _inherited(
    name: str, module: nn.Module, found: Mapping[str, KeptChannels], gone: Mapping[str, KeptChannels]
) -> KeptChannels | None:
    """The record of the layers that a new one replaces: those nearest to it that had its widths, if they agree."""
    parent = found.get(name.rpartition('.')[0])
    if parent is not None and not isinstance(module, (nn.Linear, _ConvNd)):  # the norm inside a conv to be quantised
        kept = KeptChannels((parent.dense[0], parent.dense[0]), parent.outputs)
        return kept if kept.after(module) == widths_of(module) else None
    place = name
    while True:
        near = [kept for key, kept in gone.items() if key == place or not place or key.startswith(f'{place}.')]
        near = [kept for kept in near if kept.after(module) == widths_of(module)]
        if near or not place:
            return near[0] if near and all(kept.is_same(near[0]) for kept in near) else None
        place = place.rpartition('.')[0]


def record_cut(model: nn.Module, outputs: Mapping[nn.Module, Tensor], inputs: Mapping[nn.Module, Tensor]) -> None:
    """Note what layers are about to keep; composed with what was cut earlier.

    Args:
        model: Owns the layers, which are still of their old widths.
        outputs: Output channels that stay, sorted, of every layer that loses some.
        inputs: Likewise of their input channels.
    """
    structure = structure_of(model) or Structure()
    for name, module in model.named_modules():
        if module in outputs or module in inputs:
            structure.record(name, module, outputs.get(module), inputs.get(module))
    set_structure(model, structure)


def set_structure(model: nn.Module, structure: Structure) -> None:
    """Put a record on a network, which then writes it into its state dicts.

    Args:
        model: Cut to this structure, or about to be.
        structure: Replaces what was recorded inside the model.
    """
    for name, module in model.named_modules():
        part = structure.part(name)
        if part or widths_of(module) or '_mmprune_structure' in vars(module):
            vars(module)['_mmprune_structure'] = part
        if part and '_mmprune_writes' not in vars(module):
            vars(module)['_mmprune_writes'] = True
            module._register_state_dict_hook(_write_structure)


def _write_structure(module: nn.Module, state: OrderedDict, prefix: str, local_metadata: dict) -> None:
    """Write one record for a module and all that is in it."""
    for name, entry in getattr(state, '_metadata', {}).items():
        if name.startswith(prefix):
            entry.pop(KEY, None)
    structure = structure_of(module)
    if structure:
        local_metadata[KEY] = structure.to_json()

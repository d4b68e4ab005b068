"""The part of a model that runs during distillation, and what its modules return."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from mmprune.errors import ConfigError
from mmprune.graph.scope import tensor_forward
from mmprune.graph.tracing import real_maps, watching


class Part:
    """Backbone, backbone and neck, or everything that maps images to tensors.

    A plain object and no module: whoever holds it owns neither parameters nor state-dict keys.

    Attributes:
        model: The network (not wrapped).
        names: Children that run, one after the other; empty: whatever :func:`tensor_forward` runs.
    """

    def __init__(self, model: nn.Module, names: Sequence[str] = ()) -> None:
        self.model, self.names = model, tuple(names)
        self._forward = None if names else tensor_forward(model)

    @classmethod
    def of(cls, model: nn.Module, targets: Sequence[str], neck: bool = False) -> Part:
        """The smallest part that holds the targets, and the neck where that is wanted.

        Raises:
            ConfigError: The neck is wanted, and there is none.
        """
        roots = {target.partition('.')[0] for target in targets}
        has_neck = isinstance(getattr(model, 'neck', None), nn.Module)
        if neck and not has_neck:
            raise ConfigError('neck: this model has no neck; leave it at 0')
        if not isinstance(getattr(model, 'backbone', None), nn.Module) or not roots <= {'backbone', 'neck'}:
            return cls(model)
        return cls(model, ('backbone', 'neck') if has_neck and (neck or 'neck' in roots) else ('backbone',))

    @property
    def output_name(self) -> str:
        """Path of the module whose output is that of the part; '' is the model."""
        return self.names[-1] if self.names else ''

    def __call__(self, images: Tensor) -> Any:
        """Run on normalised images of shape (N, C, H, W)."""
        if self._forward is not None:
            return self._forward(images)
        for name in self.names:
            images = getattr(self.model, name)(images)
        return images

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Paths (in the model) and modules of the part."""
        for name in self.names or ('',):
            root = self.model.get_submodule(name)
            for path, module in root.named_modules():
                yield '.'.join(filter(None, (name, path))), module

    def outputs_of(self, names: Sequence[str], images: Tensor) -> list[list[Tensor]]:
        """The tensors that some modules return while the part runs.

        What is modified in place afterwards is seen modified: tensors are not copied.

        Args:
            names: Paths of modules that run once.
            images: Normalised images (N, C, H, W).
        """
        caught: dict[str, list[Tensor]] = {}

        def catch(name: str, module: nn.Module, args: tuple, output: Any) -> None:
            caught[name] = real_maps(output)

        watched: dict[str, nn.Module] = {name: self.model.get_submodule(name) for name in names if name != ''}
        with watching(watched, catch):
            outputs = self(images)
        caught.setdefault('', real_maps(outputs))
        return [caught[name] for name in names]

    def freeze(self) -> Part:
        """Make a teacher of it: eval mode, no gradients."""
        self.model.eval()
        self.model.requires_grad_(False)
        return self

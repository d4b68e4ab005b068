"""Writers and readers of every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

Outputs = list[Tensor]
#: (module, example, path, opset, dynamic_batch, number of outputs)
Write = Callable[[nn.Module, Tensor, Path, int, bool, int], None]
Read = Callable[[Path], Callable[[Tensor], Outputs]]


@dataclass(frozen=True)
class Format:
    """A file format: how to write a module and how to run what was written.

    Attributes:
        write: Writes the module.
        read: Opens the file and returns what runs it on images.
        suffix: Ending of the file's name; empty for a folder.
    """

    write: Write
    read: Read
    suffix: str


def _write_onnx(module: nn.Module, example: Tensor, path: Path, opset: int, dynamic: bool, count: int) -> None:
    names = ['images', *(f'output_{i}' for i in range(count))]
    axes = {name: {0: 'batch'} for name in names} if dynamic else None
    torch.onnx.export(
        module,
        (example,),
        str(path),
        opset_version=opset,
        input_names=names[:1],
        output_names=names[1:],
        dynamic_axes=axes,
        dynamo=False,
    )


def _read_onnx(path: Path) -> Callable[[Tensor], Outputs]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda images: [torch.from_numpy(out) for out in session.run(None, {'images': images.cpu().numpy()})]


def _write_torchscript(module: nn.Module, example: Tensor, path: Path, opset: int, dynamic: bool, count: int) -> None:
    torch.jit.save(torch.jit.trace(module, (example,), check_trace=False), str(path))


def _read_torchscript(path: Path) -> Callable[[Tensor], Outputs]:
    module = torch.jit.load(str(path))
    return lambda images: list(module(images))


def _program(module: nn.Module, example: Tensor, dynamic: bool) -> torch.export.ExportedProgram:
    if not dynamic:
        return torch.export.export(module, (example,), strict=False)
    example = torch.cat([example, example])[:2]  # a batch of one would be taken for a constant
    return torch.export.export(
        module, (example,), strict=False, dynamic_shapes=({0: torch.export.Dim('batch', min=1)},)
    )


def _write_pt2(module: nn.Module, example: Tensor, path: Path, opset: int, dynamic: bool, count: int) -> None:
    torch.export.save(_program(module, example, dynamic), str(path))


def _read_pt2(path: Path) -> Callable[[Tensor], Outputs]:
    module = torch.export.load(str(path)).module()
    return lambda images: list(module(images))


def _write_pytorch(module: nn.Module, example: Tensor, path: Path, opset: int, dynamic: bool, count: int) -> None:
    network = _program(module, example, dynamic).module(check_guards=False)
    network.graph.set_codegen(torch.fx.graph.CodeGen())  # tensors in, tensors out: no trees to unpack
    network.recompile()
    path.mkdir()
    torch.save({key: value.detach().clone() for key, value in network.state_dict().items()}, path / 'weights.pth')
    attributes = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    (path / 'network.py').write_text(_source(network, attributes))


def _source(network: torch.fx.GraphModule, attributes: set[str]) -> str:
    """A module that anyone with PyTorch can import: one class, its forward in plain torch calls."""
    body = network.code.strip('\n')
    indented = '\n'.join(f'    {line}' if line else '' for line in body.splitlines())
    shapes = {
        name: (tuple(value.shape), str(value.dtype))
        for name, value in (*network.named_parameters(), *network.named_buffers())
    }
    register = '\n'.join(
        f'        self._add({name!r}, torch.empty({shape}, dtype={dtype}))'
        for name, (shape, dtype) in shapes.items()
        if name in attributes
    )
    return f'''"""A network for inference, as plain PyTorch; written by mmprune, needs nothing but torch.

>>> network = load()
>>> outputs = network(images)
"""

from pathlib import Path
from typing import Any

import torch
from torch import device, fx, inf, nan, nn  # noqa: F401


class Network(nn.Module):
    """Tensors in, tensors out; batch norms as in eval mode."""

    def __init__(self):
        super().__init__()
{register}

    def _add(self, name, value):
        *path, last = name.split('.')
        owner = self
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = getattr(owner, part)
        owner.register_buffer(last, value)

{indented}


def load(path=Path(__file__).parent / 'weights.pth'):
    """The network with its weights."""
    network = Network()
    network.load_state_dict(torch.load(path, weights_only=True))
    return network.eval()
'''


def _read_pytorch(path: Path) -> Callable[[Tensor], Outputs]:
    file = path / 'network.py'
    names: dict[str, Any] = {'__name__': 'exported_network', '__file__': str(file)}
    exec(compile(file.read_text(), str(file), 'exec'), names)  # not imported: that would leave bytecode beside it
    network = names['load']()
    return lambda images: list(network(images))


FORMATS = {
    'onnx': Format(_write_onnx, _read_onnx, '.onnx'),
    'torchscript': Format(_write_torchscript, _read_torchscript, '.pt'),
    'pt2': Format(_write_pt2, _read_pt2, '.pt2'),
    'pytorch': Format(_write_pytorch, _read_pytorch, ''),
}

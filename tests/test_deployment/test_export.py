"""What is written computes what PyTorch computes, and is as small as the network."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

import mmprune
from mmprune.deployment import FORMATS, ExportError, export
from tests.detectors import retinanet
from tests.networks import NETWORKS, randomise

EXAMPLE = torch.zeros(1, 3, 64, 64)


def pruned(model: nn.Module) -> nn.Module:
    mmprune.prune(
        model, EXAMPLE, pruner=dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.5)), restorer=None
    )
    return model


def size(model: nn.Module) -> int:
    return 4 * sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('format', FORMATS)
@pytest.mark.parametrize('dynamic', [False, True])
def test_every_format_computes_the_same(format: str, dynamic: bool, tmp_path: Path) -> None:
    model = pruned(randomise(torchvision.models.resnet18()).eval())
    before = {key: value.clone() for key, value in model.state_dict().items()}
    images = torch.randn(1, 3, 64, 64)
    done = export(model, EXAMPLE, tmp_path / 'net', format, dynamic_batch=dynamic, others=[images])
    assert done.error <= 1e-4 and done.outputs == ((1, 1000),)
    call = FORMATS[format].read(done.path)
    for batch in [images, torch.cat([images, images + 1, images - 1])] if dynamic else [images]:
        assert torch.allclose(call(batch)[0], model(batch), rtol=1e-4, atol=1e-4)
    after = model.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert [entry.name for entry in tmp_path.iterdir()] == ['net']


@pytest.mark.parametrize('format', FORMATS)
def test_files_shrink_with_the_parameters(format: str, tmp_path: Path) -> None:
    dense, small = torchvision.models.resnet18().eval(), pruned(torchvision.models.resnet18().eval())
    sizes = [export(model, EXAMPLE, tmp_path / f'{i}', format).size for i, model in enumerate((dense, small))]
    assert sizes[1] / sizes[0] == pytest.approx(size(small) / size(dense), rel=0.05)


@pytest.mark.parametrize('name', ['mmdet ResNet-50 FPN', 'mmdet CSPDarknet YOLOXPAFPN', 'mmdet CSPNeXt PAFPN'])
def test_backbone_and_neck_of_a_detector(name: str, tmp_path: Path) -> None:
    model = NETWORKS[name]().eval()
    done = export(model, EXAMPLE, tmp_path / 'net.onnx', dynamic_batch=True)
    assert len(done.outputs) >= 1 and done.error <= 1e-4


@pytest.fixture(scope='module')
def detectors() -> tuple[nn.Module, nn.Module]:
    """Dense, and with backbone and FPN cut together with what the heads read."""
    dense = retinanet(width=64)
    small = copy.deepcopy(dense)
    mmprune.prune(
        small,
        EXAMPLE,
        ['backbone', 'neck'],
        dict(type='ChannelPruner', allocator=dict(type='Uniform', ratio=0.3), prune_interface=True),
        restorer=None,
    )
    return dense, small


@pytest.mark.parametrize('format', FORMATS)
def test_a_detector_with_a_cut_fpn(format: str, detectors: tuple, tmp_path: Path) -> None:
    dense, small = detectors
    done = [export(model, EXAMPLE, tmp_path / f'{i}', format) for i, model in enumerate(detectors)]
    assert done[1].error <= 1e-4 and [shape[1] for shape in done[1].outputs] == [89] * 5
    body = [size(model.backbone) + size(model.neck) for model in detectors]
    assert done[1].size / done[0].size == pytest.approx(body[1] / body[0], rel=0.05)
    images = torch.randn(1, 3, 64, 64)
    for got, expected in zip(FORMATS[format].read(done[1].path)(images), small.extract_feat(images)):
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_a_backbone_alone(detectors: tuple, tmp_path: Path) -> None:
    """mmdet's backbones return None where other modules return themselves."""
    assert len(export(detectors[1].backbone, EXAMPLE, tmp_path / 'net.onnx').outputs) == 4


def test_real_images_are_compared_too(detectors: tuple, data_root: Path, tmp_path: Path) -> None:
    path = next(data_root.glob('**/*.jpg'))
    picture = torchvision.io.read_image(str(path)).float()[None, :, :64, :64]
    done = export(detectors[1], EXAMPLE, tmp_path / 'net.onnx', others=[(picture - 120) / 58])
    assert done.error <= 1e-4
    with pytest.raises(ExportError):  # of another shape: the comparison does take place
        export(detectors[1], EXAMPLE, tmp_path / 'other.onnx', others=[picture[..., :32]])


def test_masks_are_baked_in(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3))
    mmprune.prune(
        model, EXAMPLE, pruner=dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.7)), restorer=None
    )
    done = export(model, EXAMPLE, tmp_path / 'net', 'pytorch')
    weights = torch.load(done.path / 'weights.pth', weights_only=True)
    assert not any('mask' in key for key in weights)
    zeros = sum(int((value == 0).sum()) for value in weights.values())
    assert zeros >= 0.69 * sum(p.numel() for name, p in model.named_parameters() if name.endswith('weight'))
    assert any('mask' in key for key in model.state_dict())


def test_the_plain_module_needs_nothing_but_torch(tmp_path: Path) -> None:
    model = pruned(randomise(torchvision.models.resnet18()).eval())
    export(model, EXAMPLE, tmp_path / 'net', 'pytorch')
    torch.save(
        {'images': (images := torch.randn(2, 3, 64, 64)[:1]), 'expected': model(images).detach()},
        tmp_path / 'case.pth',
    )
    program = '\n'.join(
        (
            'import sys, torch',
            'from network import load',
            f'case = torch.load({str(tmp_path / "case.pth")!r}, weights_only=True)',
            "(out,) = load()(case['images'])",
            "assert torch.allclose(out, case['expected'], rtol=1e-4, atol=1e-4)",
            "assert not any(name.startswith(('mmprune', 'mmengine', 'mmdet')) for name in sys.modules)",
        )
    )
    done = subprocess.run(
        [sys.executable, '-c', program], cwd=tmp_path / 'net', env={'PYTHONPATH': '.'}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


class Fickle(nn.Module):
    """A network that no tracer can know: it does something else every time."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.calls = nn.Conv2d(3, 4, 1), 0

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.conv(images) * self.calls


def test_a_wrong_file_is_never_left_behind(tmp_path: Path) -> None:
    (tmp_path / 'net.pt').write_bytes(b'of an earlier run')
    with pytest.raises(ExportError, match='computes something else'):
        export(Fickle().eval(), EXAMPLE, tmp_path / 'net.pt', 'torchscript')
    assert (tmp_path / 'net.pt').read_bytes() == b'of an earlier run' and len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match='one of onnx, torchscript'):
        export(Fickle(), EXAMPLE, tmp_path / 'net', 'caffe')
    with pytest.raises(ExportError, match='cannot be written as onnx'):
        export(nn.Sequential(nn.Conv2d(3, 4, 1)), EXAMPLE, tmp_path / 'net', 'onnx', opset=3)
    assert not list(tmp_path.iterdir())

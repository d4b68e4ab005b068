"""What people do with a pruned network afterwards: every file that comes of it gives that network, or one line."""

import contextlib
import copy
import functools
import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from mmcv.cnn import fuse_conv_bn
from mmengine.model import ExponentialMovingAverage
from mmengine.runner import load_checkpoint
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

import mmprune
from mmprune.checkpoint import structure_of
from mmprune.surgery.masking import masks
from tests.networks import mmpretrain, randomise

PRUNER = dict(type='ChannelPruner', criterion='L2Norm', allocator=dict(type='Uniform', ratio=0.4))
IMAGES = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(5))


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.deep = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 1, bias=False), nn.BatchNorm2d(width)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x + self.bn2(self.conv2(self.act(self.deep(self.act(self.bn1(self.conv1(x))))))))


class Backbone(nn.Module):
    """Residual, with a depthwise and a transposed conv."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12)
        self.blocks = nn.Sequential(Block(12), Block(12))
        self.up, self.out = nn.ConvTranspose2d(12, 10, 2), nn.Conv2d(10, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(torch.relu(self.up(self.blocks(torch.relu(self.norm(self.stem(x)))))))


class Network(nn.Module):
    def __init__(self, classes: int = 6) -> None:
        super().__init__()
        self.backbone, self.neck, self.head = Backbone(), nn.Linear(8, 10), nn.Linear(10, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.neck(torch.relu(self.backbone(x)).mean((2, 3)))))


def sequence() -> nn.Module:
    layers = [
        nn.Conv2d(3, 12, 3),
        nn.BatchNorm2d(12),
        nn.PReLU(12),
        nn.Conv2d(12, 9, 3),
        nn.InstanceNorm2d(9),
        nn.Tanh(),
    ]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(36, 5))


NETWORKS = {'network': Network, 'sequence': sequence}


def build(kind: str = 'network') -> nn.Module:
    """A dense network, of new weights each time."""
    return NETWORKS[kind]().eval()


def prune(model: nn.Module, images: Tensor = IMAGES) -> None:
    mmprune.prune(model, images, pruner=PRUNER, restorer=None, clock_s=0)
    model.eval()


@functools.cache
def _pruned(kind: str) -> nn.Module:
    torch.manual_seed(3)
    model = build(kind)
    prune(model)
    return model


def pruned(kind: str = 'network') -> nn.Module:
    return copy.deepcopy(_pruned(kind))


def compiled_inside(model: nn.Module) -> nn.Module:
    model = copy.deepcopy(model)
    name, child = next(iter(model.named_children()))
    setattr(model, name, torch.compile(child))
    return model


#: Modules around a network, or around a part of it.
WRAPPED = {
    'bare': lambda model: model,
    'DataParallel': nn.DataParallel,
    'compiled': torch.compile,
    'compiled inside': compiled_inside,
    'DataParallel of DataParallel': lambda model: nn.DataParallel(nn.DataParallel(model)),
    'compiled DataParallel': lambda model: torch.compile(nn.DataParallel(model)),
    'AveragedModel': AveragedModel,
    'mmengine EMA': ExponentialMovingAverage,
}
#: Where programs put the weights.
KEPT = {
    'bare': lambda state: state,
    'state_dict': lambda state: dict(state_dict=state, meta={}),
    'model': lambda state: dict(model=state, epoch=3, optimizer=dict(state={0: dict(step=torch.ones(()))})),
    'ema': lambda state: dict(model=None, ema=state),
    'net': lambda state: {'net': state, 'acc': 0.5},
    'student': lambda state: dict(student=state),
    'nested': lambda state: dict(checkpoint=dict(model=state)),
}


def core(model: nn.Module) -> nn.Module:
    while hasattr(model, 'module') or hasattr(model, '_orig_mod'):
        model = model.module if hasattr(model, 'module') else model._orig_mod
    return model


def same(one: nn.Module, two: nn.Module) -> bool:
    return torch.equal(core(one).eval()(IMAGES), core(two).eval()(IMAGES))


@pytest.mark.parametrize('kind', NETWORKS)
@pytest.mark.parametrize('kept', KEPT)
@pytest.mark.parametrize('wrapped', WRAPPED)
def test_any_file_loads_into_any_network(kind: str, kept: str, wrapped: str, tmp_path: Path) -> None:
    torch._dynamo.config.disable = True  # keys of compiled modules are what matters
    model, path = pruned(kind), tmp_path / 'net.pth'
    saved = WRAPPED[wrapped](model)
    torch.save(KEPT[kept](saved.state_dict()), path)
    for target in WRAPPED if kept == 'bare' and kind == 'network' else ['bare']:
        dense = WRAPPED[target](build(kind))
        for _ in range(2):  # dense, then already cut
            mmprune.load(dense, path)
            assert same(dense, model), target
        again = pruned(kind)
        mmprune.load(WRAPPED[target](again), path)
        assert same(again, model)


def hand_over(target: nn.Module, path: Path, strict: bool) -> None:
    target.load_state_dict(torch.load(path, weights_only=True)['state_dict'], strict=strict)


@pytest.mark.parametrize('strict', [True, False])
@pytest.mark.parametrize('kind', NETWORKS)
def test_loaded_by_hand_and_by_mmengine(kind: str, strict: bool, tmp_path: Path) -> None:
    model, path = pruned(kind), mmprune.save(pruned(kind), tmp_path / 'net.pth')
    torch.save(nn.DataParallel(pruned(kind)).state_dict(), tmp_path / 'parallel.pth')
    for load in (
        lambda target: hand_over(target, path, strict),
        lambda target: hand_over(nn.DataParallel(target), path, strict),
        lambda target: target.load_state_dict(torch.load(path, weights_only=True), strict=strict),  # all of the file
        lambda target: load_checkpoint(target, str(path), strict=strict),
        lambda target: load_checkpoint(nn.DataParallel(target), str(path), strict=strict),
        lambda target: load_checkpoint(target, str(tmp_path / 'parallel.pth'), strict=strict),
        lambda target: load_checkpoint(target, str(tmp_path / 'parallel.pth'), strict=strict, revise_keys=[]),
    ):
        for target in (build(kind), pruned(kind)):
            load(target)
            assert same(target, model)


def test_a_network_that_cannot_take_it_stays_as_it_was(tmp_path: Path) -> None:
    path = mmprune.save(pruned(), tmp_path / 'net.pth')
    other = [Network(4), Network(), sequence()]
    other[1].more = nn.Conv2d(3, 3, 1)
    for model in other:
        for strict, load in itertools.product((True, False), (hand_over, load_checkpoint)):
            if strict is False and load is hand_over and hasattr(model, 'more'):
                continue  # what is missing is what one asked for
            before, widths = copy.deepcopy(model.state_dict()), repr(model)
            with pytest.raises((mmprune.CheckpointError, mmprune.StructureError)) as caught:
                load(model, str(path), strict=strict)
            assert '\n' not in str(caught.value)
            assert repr(model) == widths and structure_of(model) is None
            assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


# ---- parts ---------------------------------------------------------------------------------------------------------


def test_a_part_pruned_alone_and_the_whole_saved(tmp_path: Path) -> None:
    model = build()
    prune(model.backbone)
    path = mmprune.save(model, tmp_path / 'net.pth')
    assert same(mmprune.load(build(), path), model)
    prune(model)  # the whole once more, then the part again
    prune(model.backbone)
    path = mmprune.save(model, tmp_path / 'net.pth')
    for target in (build(), copy.deepcopy(model)):
        assert same(mmprune.load(target, path), model)


@pytest.mark.parametrize('part', ['backbone', 'backbone.blocks', 'backbone.blocks.0.conv1', 'neck'])
def test_the_whole_pruned_and_a_part_saved(part: str, tmp_path: Path) -> None:
    model = pruned()
    path, whole = tmp_path / 'part.pth', mmprune.save(model, tmp_path / 'whole.pth')
    torch.save(model.get_submodule(part).state_dict(), path)
    is_layer = part in ('neck', 'backbone.blocks.0.conv1')  # as there are others
    with pytest.raises(mmprune.CheckpointError, match='several') if is_layer else contextlib.nullcontext():
        mmprune.load(build().get_submodule(part), whole)
    for source in (path,) if is_layer else (path, whole):
        target = build()
        mmprune.load(target.get_submodule(part), source)
        found, wanted = target.get_submodule(part).state_dict(), model.get_submodule(part).state_dict()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())
    with pytest.raises(mmprune.CheckpointError, match=f'of a part of this network.*{part}'):
        mmprune.load(build(), path)


def test_parts_that_move_into_another_network(tmp_path: Path) -> None:
    def other(backbone: nn.Module) -> nn.Module:
        return nn.Sequential(*backbone.children(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3))

    model = other(pruned().backbone)
    path = mmprune.save(model, tmp_path / 'net.pth')
    target = mmprune.load(other(build().backbone), path)
    assert all(torch.equal(a, b) for a, b in zip(target.state_dict().values(), model.state_dict().values()))


# ---- what becomes of layers ----------------------------------------------------------------------------------------


def new_head(model: nn.Module, classes: int) -> nn.Module:
    model.head = nn.Linear(model.head.in_features, classes)
    return model


@pytest.mark.parametrize('classes', [2, 6, 40])
def test_a_new_head(classes: int, tmp_path: Path) -> None:
    model = new_head(pruned(), classes)
    for step in range(3):
        path = mmprune.save(model, tmp_path / 'net.pth')
        for target in (Network(classes), new_head(pruned(), classes)):
            if step < 1 or target.head.in_features == 10:
                assert same(mmprune.load(target, path), model)
        with pytest.raises((mmprune.CheckpointError, mmprune.StructureError), match='head'):
            mmprune.load(Network(classes + 1), path)
        prune(model) if step == 0 else setattr(
            model, 'neck', nn.Linear(model.neck.in_features, model.head.in_features)
        )


def test_layers_that_are_gone_or_new(tmp_path: Path) -> None:
    def without(model: nn.Module) -> nn.Module:
        del model.backbone.blocks[1]
        model.backbone.blocks[0].bn1 = nn.Identity()
        model.extra = nn.Linear(5, 5)
        return model

    model = without(pruned())
    path = mmprune.save(model, tmp_path / 'net.pth')
    assert same(mmprune.load(without(build()), path), model)


# ---- what was there before the cut ---------------------------------------------------------------------------------


@pytest.mark.parametrize('optimizer', ['SGD', 'Adam', 'AdamW', 'RMSprop', 'Adagrad', 'Adafactor'])
def test_an_optimizer_from_before_goes_on(optimizer: str) -> None:
    model = build().train()
    options = dict(momentum=0.9) if optimizer == 'SGD' else {}
    before = getattr(torch.optim, optimizer)(model.parameters(), lr=0.01, **options)

    def step() -> Tensor:
        before.zero_grad()
        loss = model(IMAGES).square().mean()
        loss.backward()
        return loss

    before.step(step)
    kept = {id(entry) for entry in before.state.values()}
    prune(model.train())
    mmprune.mend(model, optimizer=before)
    weight = model.head.weight.clone()
    for _ in range(2):
        before.step(step)
    assert not torch.equal(model.head.weight, weight)
    assert optimizer == 'Adafactor' or before.state[model.head.bias]  # what fits is remembered
    assert kept >= {id(entry) for entry in before.state.values()}


@pytest.mark.parametrize('average', ['AveragedModel', 'mmengine EMA', 'copy'])
def test_averages_from_before_go_on(average: str) -> None:
    model = build()
    before = copy.deepcopy(model) if average == 'copy' else WRAPPED[average](model)
    for _ in range(2):  # in two steps
        if average != 'copy':
            before.update_parameters(model)
        prune(model)
        mmprune.mend(model, averages=before)
        assert same(before, model) and structure_of(core(before)).to_json() == structure_of(model).to_json()
    if average != 'copy':
        before.update_parameters(model)
        assert same(before, model)
        with torch.no_grad():
            model.head.bias.add_(1)
        before.update_parameters(model)
        assert not same(before, model)
    other = Network(2)
    with pytest.raises((mmprune.CheckpointError, mmprune.StructureError)):
        mmprune.mend(model, averages=other)


def test_masks_and_an_optimizer_from_before(tmp_path: Path) -> None:
    model = build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(IMAGES).sum().backward()
    optimizer.step()
    average = AveragedModel(model)
    pruner = dict(type='WeightPruner', allocator=dict(type='Uniform', ratio=0.5))
    mmprune.prune(model, IMAGES, pruner=pruner, restorer=None, clock_s=0)
    mmprune.mend(model, [optimizer], [average])
    assert (optimizer.state[model.head.weight]['momentum_buffer'][model.head.weight == 0] == 0).all()
    assert set(masks(average.module)) == set(masks(model)) and same(average, model)
    for load in (mmprune.load, lambda target, path: hand_over(target, path, True)):
        target = build()
        load(target, mmprune.save(model, tmp_path / 'net.pth'))
        assert set(masks(target)) == set(masks(model)) and same(target, model)


# ---- re-parametrised, fused, to be quantised -----------------------------------------------------------------------


def deployed(kind: str) -> nn.Module:
    stages = dict(num_blocks=[1, 2, 2, 1], width_factor=[0.25] * 4)
    arch = {
        'RepVGG': dict(stages, group_layer_map=None, se_cfg=None, stem_channels=16),
        'MobileOne': dict(stages, num_conv_branches=[2] * 4, num_se_blocks=[0, 0, 0, 1]),
    }
    return mmpretrain(type=kind, arch=arch[kind], out_indices=(3,))


def switched(model: nn.Module) -> nn.Module:
    model.eval()  # returns None in mmpretrain
    model.switch_to_deploy()
    return model


@pytest.mark.parametrize('kind', ['RepVGG', 'MobileOne'])
def test_blocks_are_fused_after_the_cut_and_after_loading(kind: str, tmp_path: Path) -> None:
    model, images = deployed(kind), torch.randn(1, 3, 48, 48)
    randomise(model)
    prune(model, images)
    (wanted,) = model(images)
    path = mmprune.save(model, tmp_path / 'branches.pth')
    (found,) = switched(model)(images)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    target = deployed(kind)
    mmprune.load(target, path)
    torch.testing.assert_close(switched(target)(images)[0], wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    path = mmprune.save(model, tmp_path / 'deployed.pth')
    target = switched(deployed(kind))
    mmprune.load(target, path)
    assert torch.equal(target(images)[0], found)


def without_norms(model: nn.Module) -> nn.Module:
    return fuse_conv_bn(model.eval())


def to_be_quantised(model: nn.Module) -> nn.Module:
    pairs = [['backbone.stem', 'backbone.norm']]
    pairs += [[f'backbone.blocks.{i}.conv{j}', f'backbone.blocks.{i}.bn{j}'] for i in (0, 1) for j in (1, 2)]
    model = torch.ao.quantization.fuse_modules_qat(model.train(), pairs)
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig('fbgemm')
    model.backbone.up.qconfig = None
    return torch.ao.quantization.prepare_qat(model).eval()


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('change', [without_norms, to_be_quantised])
def test_fused_and_quantisation_aware(change: Callable, tmp_path: Path) -> None:
    model = change(pruned())
    model(IMAGES)
    path = mmprune.save(model, tmp_path / 'net.pth')
    assert same(mmprune.load(change(build()), path), model)
    with pytest.raises((mmprune.CheckpointError, mmprune.StructureError)):
        mmprune.load(build(), path)

import pytest
import torch
import torch.nn.functional as F

from mmprune.models import CIFARResNet
from mmprune.models.residual_blocks import PadShortcut
from tests.test_models.complexity import mega_macs, parameters, prunable


@pytest.mark.parametrize(
    ('depth', 'tensors', 'weights', 'mega'),
    [(20, 22, 270_896, 40.8), (32, 34, 464_432, 69.1), (44, 46, 657_968, 97.4), (56, 58, 851_504, 125.7)],
)
def test_conv1x1_shortcuts_have_the_published_size(build_classifier, depth, tensors, weights, mega):
    with torch.device('meta'):
        model = build_classifier('resnet32_rd_cifar', backbone={'depth': depth})
        assert prunable(model) == (tensors, weights)
        assert mega_macs(model) == pytest.approx(mega, abs=0.05)


@pytest.mark.parametrize(('depth', 'millions', 'mega'), [(56, 0.876, 127.8), (110, 1.751, 255.2)])
def test_conv3x3_shortcuts_have_the_published_size(build_classifier, depth, millions, mega):
    with torch.device('meta'):
        model = build_classifier('resnet56_rg_cifar', backbone={'depth': depth})
        assert parameters(model) / 1e6 == pytest.approx(millions, abs=5e-4)
        assert mega_macs(model) == pytest.approx(mega, abs=0.05)


def test_option_a_shortcuts_have_no_parameters(build_classifier):
    with torch.device('meta'):
        model = build_classifier('resnet20_cifar')
        assert parameters(model) == 269_722
        assert not list(model.backbone.layer2[0].downsample.parameters())


def test_pad_shortcut_puts_zeros_on_both_sides():
    x = torch.rand(2, 16, 8, 8)
    out = PadShortcut(16, 32, stride=2)(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def _reference(model: CIFARResNet, x: torch.Tensor) -> torch.Tensor:
    """Neuron Merging's forward, written out: rectify, remember, convolve, add; rectify once more at the end."""
    x = model.bn1(model.conv1(x))
    for stage in (model.layer1, model.layer2, model.layer3):
        for block in stage:
            x = F.relu(x)
            out = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
            x = out + block.downsample(x)
    return F.relu(x)


def test_pre_relu_rectifies_the_input_of_block_and_shortcut():
    model = CIFARResNet(20, shortcut='conv1x1', pre_relu=True).eval()
    x = torch.randn(2, 3, 32, 32)
    assert torch.allclose(model(x)[0], _reference(model, x), atol=1e-6)
    plain = CIFARResNet(20, shortcut='conv1x1').eval()
    plain.load_state_dict(model.state_dict())
    # The rectified sums are the same function: only the place of the ReLU among the modules differs.
    assert torch.allclose(plain(x)[0], model(x)[0], atol=1e-6)


def test_out_indices_select_stages():
    model = CIFARResNet(20, out_indices=(0, 2))
    outs = model(torch.rand(2, 3, 32, 32))
    assert [tuple(out.shape) for out in outs] == [(2, 16, 32, 32), (2, 64, 8, 8)]
    assert all(out.min() >= 0 for out in outs)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'depth': 18}, 'depth=18'),
        ({'depth': 20, 'shortcut': 'B'}, "shortcut='B'"),
        ({'depth': 20, 'out_indices': (3,)}, r'out_indices=\(3,\)'),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        CIFARResNet(**arguments)


def test_init_weights_is_kaiming_with_fan_out():
    model = CIFARResNet(20)
    model.init_weights()
    weight = model.layer3[2].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.03)

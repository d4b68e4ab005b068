"""Uniform: LBYL's widths and parameter counts, rounding."""

import pytest

from tests.test_allocators.layers import build, channel_layers

VGG16 = [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]


def vgg16_parameters(widths):
    """CIFAR-10 VGG-16 of LBYL: convs without bias, batch norms, and a classifier of 512 with its own batch norm."""
    inputs = [3, *widths[:-1]]
    convs = sum(9 * i * o + 2 * o for i, o in zip(inputs, widths))
    return convs + (widths[-1] * 512 + 512) + 2 * 512 + (512 * 10 + 10)


@pytest.mark.parametrize(
    'ratio, widths',
    [
        (0.1, [57, 115, 230, 460]),
        (0.2, [51, 102, 204, 409]),
        (0.3, [44, 89, 179, 358]),
        (0.4, [38, 76, 153, 307]),
        (0.5, [32, 64, 128, 256]),
    ],
)
def test_widths_of_lbyl(ratio, widths):
    assert build('Uniform', ratio=ratio).keep_counts(channel_layers(64, 128, 256, 512), ratio) == widths


@pytest.mark.parametrize(
    'ratio, parameters',
    [
        (0, 14_987_722),
        (0.1, 12_123_024),
        (0.2, 9_602_987),
        (0.3, 7_385_244),
        (0.4, 5_450_864),
        (0.5, 3_820_010),
        (0.6, 2_449_744),
        (0.7, 1_398_795),
    ],
)
def test_parameter_counts_of_lbyl_on_vgg16(ratio, parameters):
    widths = build('Uniform', ratio=ratio).keep_counts(channel_layers(*VGG16), ratio)
    assert vgg16_parameters(widths) == parameters


@pytest.mark.parametrize(
    'ratio, parameters', [(0, 266_610), (0.5, 125_810), (0.6, 99_450), (0.7, 73_690), (0.8, 48_530)]
)
def test_parameter_counts_of_lbyl_on_lenet(ratio, parameters):
    a, b = build('Uniform', ratio=ratio, rounding='round').keep_counts(channel_layers(300, 100), ratio)
    assert 785 * a + (a + 1) * b + (b + 1) * 10 == parameters


def test_rounding_is_of_the_kept_count():
    counts = [
        build('Uniform', ratio=0.3, rounding=r).keep_counts(channel_layers(64, 68), 0.3)
        for r in ('floor', 'round', 'ceil')
    ]
    assert counts == [[44, 47], [45, 48], [45, 48]]


def test_bad_input_names_the_key():
    with pytest.raises(ValueError, match=r"^rounding.*'floor', 'round' or 'ceil'.*'up'"):
        build('Uniform', ratio=0.5, rounding='up')

"""WidthDependent: DFBF's table for ResNets and VGGs."""

import pytest

from tests.test_allocators.layers import build, channel_layers

VGG = {'thresholds': (201, 300, 501), 'factors': (0.4, 1.0, 0.4, 1.3)}


@pytest.mark.parametrize('column', [{}, VGG])
@pytest.mark.parametrize(
    'ratio, kept', [(0.5, {512: 180, 256: 128, 128: 103, 64: 52}), (0.1, {512: 446, 256: 231, 128: 123, 64: 62})]
)
def test_table_of_dfbf(column, ratio, kept):
    assert build('WidthDependent', ratio=ratio, **column).keep_counts(channel_layers(*kept), ratio) == list(
        kept.values()
    )


def test_limits_of_the_two_columns():
    widths = [200, 201, 299, 300, 499, 500, 501]
    resnet, vgg = (build('WidthDependent', ratio=0.5, **column) for column in ({}, VGG))
    removed = [[w - k for w, k in zip(widths, a.keep_counts(channel_layers(*widths), 0.5))] for a in (resnet, vgg)]
    assert removed[0] == [40, 100, 149, 150, 249, 325, 325]  # .2, .5 … and 1.3 · .5 from 500 on
    assert removed[1] == [40, 100, 149, 60, 99, 100, 325]  # VGG: only 201–299 at .5, more than 500 at .65


def test_at_least_ten_stay():
    allocator = build('WidthDependent', ratio=0.95)
    assert allocator.keep_counts(channel_layers(512, 210, 12, 10, 4), 0.95) == [10, 11, 10, 10, 4]
    assert build('WidthDependent', ratio=0.95, min_keep=0).keep_counts(channel_layers(512), 0.95) == [0]


def test_own_thresholds():
    allocator = build('WidthDependent', ratio=0.5, thresholds=[100], factors=[0, 1], min_keep=1)
    assert allocator.keep_counts(channel_layers(99, 100), 0.5) == [99, 50]


@pytest.mark.parametrize(
    'key, kwargs',
    [
        ('thresholds', {'thresholds': (500, 201)}),
        ('factors', {'factors': (1.0, 2.0)}),
        ('factors', {'factors': (1.0, -2.0, 1.0)}),
        ('min_keep', {'min_keep': -1}),
    ],
)
def test_bad_input_names_the_key(key, kwargs):
    with pytest.raises(ValueError, match=rf'^{key}'):
        build('WidthDependent', ratio=0.5, **kwargs)

import pytest
import torch

from mmprune.errors import ConfigError
from mmprune.images import GaussianNoise, PinkNoise
from mmprune.registry import SYNTHESIZERS, build_part
from mmprune.restorers import BNRecalibration


@pytest.mark.parametrize('source', [GaussianNoise(50, (3, 8, 12), 20), PinkNoise(num_images=50, shape=(3, 8, 12))])
def test_gives_the_wanted_batches_and_the_same_every_time(source):
    batches = list(source)
    assert [tuple(batch.shape) for batch in batches] == [(20, 3, 8, 12), (20, 3, 8, 12), (10, 3, 8, 12)]
    assert len(source) == 3
    assert all(torch.equal(a, b) for a, b in zip(batches, source))


@pytest.mark.parametrize('build', [GaussianNoise, PinkNoise])
def test_the_seed_decides_and_the_global_one_is_not_touched(build):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, other = (torch.cat(list(build(num_images=4, shape=(3, 8, 8), seed=seed))) for seed in (0, 1))
    assert not torch.equal(first, other)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize('options', [dict(type='GaussianNoise'), dict(type='PinkNoise'),
                                     dict(type='PinkNoise', exponent=2.0, gray=0.5)])  # fmt: skip
def test_zero_mean_and_unit_variance(options):
    source = build_part(SYNTHESIZERS, dict(num_images=2000, shape=(3, 16, 17), batch_size=500, **options), 'inputs')
    images = torch.cat(list(source))
    assert abs(images.mean()) < 0.05
    assert abs(images.var() - 1) < 0.05


def test_pink_amplitudes_fall_with_frequency():
    images = torch.cat(list(PinkNoise(num_images=200, shape=(3, 64, 64))))
    spectrum = torch.fft.rfft2(images).abs().square().mean(dim=(0, 1)).sqrt()
    assert spectrum[0, 2] / spectrum[0, 16] == pytest.approx(8, rel=0.1)
    assert spectrum[4, 0] / spectrum[32, 0] == pytest.approx(8, rel=0.1)
    white = torch.fft.rfft2(torch.cat(list(PinkNoise(exponent=0, num_images=200, shape=(3, 64, 64)))))
    assert white.abs().mean(dim=(0, 1)).std() < 3


def test_gray_is_the_correlation_of_the_colours():
    images = torch.cat(list(PinkNoise(gray=0.7, num_images=400, shape=(3, 8, 8))))
    assert torch.corrcoef(images.transpose(0, 1).flatten(1))[0, 1] == pytest.approx(0.7, abs=0.03)


def test_takes_shape_and_precision_of_an_example():
    source = GaussianNoise(3).like(torch.zeros(1, 1, 5, 7, dtype=torch.float64))
    (batch,) = source
    assert batch.shape == (3, 1, 5, 7) and batch.dtype == torch.float64
    assert next(iter(GaussianNoise(3, (3, 4, 4)).like(torch.zeros(1, 1, 5, 7)))).shape == (3, 3, 4, 4)


def test_stands_wherever_images_are_wanted():
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3)).eval()
    BNRecalibration().restore_model(model, model, GaussianNoise(200, (3, 8, 8)))
    assert model[0].running_mean.abs().max() < 0.05


@pytest.mark.parametrize(('options', 'message'), [(dict(num_images=0), 'num_images'), (dict(batch_size=2.5), 'batch'),
                                                  (dict(shape=(3, 4)), 'shape')])  # fmt: skip
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        build_part(SYNTHESIZERS, dict(type='GaussianNoise', **options), 'inputs')


def test_a_source_without_shape_says_so():
    with pytest.raises(ValueError, match='shape: not set'):
        next(iter(GaussianNoise()))
    with pytest.raises(ValueError, match='gray'):
        PinkNoise(gray=2)

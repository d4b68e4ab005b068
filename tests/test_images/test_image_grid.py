import matplotlib.image
import pytest
import torch

from mmprune.images import GaussianNoise
from mmprune.report.image_grid import pixels, plot_grid
from tests.test_images.small import Classifier, quick, scope_of, trained


def test_draws_as_many_images_as_there_are(tmp_path):
    store = quick().prepare(scope_of(trained(Classifier())), tmp_path)
    few, many = (matplotlib.image.imread(plot_grid(store, tmp_path / f'{num}.png', num)) for num in (1, 500))
    assert few.shape[0] < 200 and many.shape[0] > 400
    assert few[..., :3].std() > 0.05
    with pytest.raises(ValueError, match='num'):
        plot_grid(store, tmp_path / 'none.png', 0)


def test_images_without_labels_and_with_one_channel(tmp_path):
    store = GaussianNoise(5, (1, 8, 8)).prepare(scope_of(trained(Classifier())), tmp_path)
    assert plot_grid(store, tmp_path / 'noise.png').stat().st_size > 1000


def test_pixels_are_what_the_preprocessor_saw():
    raw = torch.randint(0, 256, (3, 4, 5)).float()
    mean, std = [125.0, 100.0, 90.0], [60.0, 61.0, 62.0]
    normalised = (raw - torch.tensor(mean).view(-1, 1, 1)) / torch.tensor(std).view(-1, 1, 1)
    assert torch.allclose(pixels(normalised, mean, std), raw.permute(1, 2, 0) / 255, atol=1e-5)
    stretched = pixels(normalised[:1], None, None)
    assert stretched.shape == (4, 5) and stretched.min() == 0 and stretched.max() == 1

import numpy as np
import pytest
import torch
from torch import nn

from mmprune.criteria.redundancy import HashAgreement, collect, decompose
from mmprune.moments import batch_statistics
from tests.oracles import redundancy_graph as literal


def random_maps(case: int) -> torch.Tensor:
    """Maps of related channels: mixtures of a few hidden ones, on sizes from 2 to 32, square or not."""
    generator = torch.Generator().manual_seed(case)
    channels = int(torch.randint(8, 40, (), generator=generator))
    height, width = (int(n) for n in torch.randint(2, 33, (2,), generator=generator))
    hidden = torch.randn(4, 6, height, width, generator=generator, dtype=torch.float64)
    mix = torch.randn(channels, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(4, channels, height, width, generator=generator, dtype=torch.float64)
    return torch.einsum('ck,nkyx->ncyx', mix, hidden) + 0.5 * noise


@pytest.mark.parametrize('case', range(25))
def test_similarities_and_kept_sets_are_the_literal_ones(case):
    maps = random_maps(case)
    stream = HashAgreement(maps.shape[1])
    for batch in maps.split(3):
        stream.update(batch[:, :, None])
    ours = stream.similarity().numpy()
    expected = literal.similarity(maps.numpy())
    assert np.abs(ours - expected).max() < 4e-8
    l1 = np.random.default_rng(case).random(maps.shape[1])
    threshold = 0.6 + 0.05 * (case % 5)
    assert decompose(ours, threshold, l1).tolist() == literal.decompose(expected, threshold, l1)


def test_the_order_and_size_of_batches_do_not_matter():
    maps = torch.randn(12, 7, 9, 16)
    streams = [HashAgreement(7), HashAgreement(7)]
    streams[0].update(maps[:, :, None])
    for batch in reversed(maps.split(5)):
        streams[1].update(batch[:, :, None])
    assert torch.equal(streams[0].similarity(), streams[1].similarity())


def test_units_of_several_channels_compare_channel_by_channel():
    maps = torch.randn(6, 4, 2, 8, 8)
    both, one = HashAgreement(4), [HashAgreement(4), HashAgreement(4)]
    both.update(maps)
    for s in range(2):
        one[s].update(maps[:, :, s : s + 1])
    assert torch.allclose(both.similarity(), (one[0].similarity() + one[1].similarity()) / 2)


def test_single_pixels_are_refused_not_collapsed():
    stream = HashAgreement(4)
    stream.update(torch.randn(6, 4, 1, 1, 1))
    assert '1×1' in stream.problem
    with pytest.raises(ValueError, match='1×1'):
        stream.similarity()


def test_hooks_are_keyed_by_module_not_by_the_order_of_execution():
    """A block that runs its shortcut first: the published code gives conv1 the maps of the shortcut."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = nn.Conv2d(3, 6, 3, padding=1)
            self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
            self.downsample = nn.Conv2d(3, 6, 1)

        def forward(self, x):
            identity = self.downsample(x)
            return self.conv2(self.conv1(x)) + identity

    block, images = Block(), torch.randn(8, 3, 16, 16)
    index = torch.arange(6)[:, None]
    layers = [block.conv1, block.conv2, block.downsample]
    streams = collect([(layer, index) for layer in layers], block, images.split(3))
    with torch.no_grad():
        maps = [block.conv1(images), block.conv2(block.conv1(images)), block.downsample(images)]
    for stream, expected in zip(streams, maps):
        alone = HashAgreement(6)
        alone.update(expected[:, :, None])
        assert torch.allclose(stream.similarity(), alone.similarity(), atol=1e-3)
        assert not layers[0]._forward_hooks


def test_index_says_which_channels_make_a_unit():
    conv, images = nn.Conv2d(3, 6, 3), torch.randn(4, 3, 12, 12)
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    plain, permuted = collect([(conv, torch.arange(6)[:, None]), (conv, order[:, None])], conv, [images])
    assert torch.equal(permuted.similarity(), plain.similarity()[order][:, order])


def test_batch_statistics_leave_no_trace():
    norm = nn.BatchNorm2d(3).eval()
    norm.running_mean.fill_(5.0)
    before = {key: value.clone() for key, value in norm.state_dict().items()}
    x = torch.randn(8, 3, 4, 4)
    other = nn.BatchNorm2d(3).eval()
    with batch_statistics([norm]):
        inside = norm(x)
        assert torch.allclose(other(x + 5), x + 5, atol=1e-3)
    assert inside.mean().abs() < 1e-5
    assert (norm(x).mean() + 5).abs() < 1
    assert not norm.training and norm.momentum == 0.1
    assert all(torch.equal(value, before[key]) for key, value in norm.state_dict().items())

import pytest
import torch

from mmprune.models import LeNet300
from tests.test_models.complexity import parameters


@pytest.mark.parametrize(
    ('widths', 'count'),
    [((300, 100), 266_610), ((150, 50), 125_810), ((120, 40), 99_450), ((90, 30), 73_690), ((60, 20), 48_530)],
)
def test_lenet_has_the_published_size(build_classifier, widths, count):
    model = build_classifier('lenet300_fmnist', backbone={'widths': widths}, head={'in_channels': widths[1]})
    assert parameters(model) == count
    assert model(torch.rand(2, 1, 28, 28), mode='tensor').shape == (2, 10)


def test_wrong_widths_are_named():
    with pytest.raises(ValueError, match=r'widths=\(300,\)'):
        LeNet300(widths=[300])

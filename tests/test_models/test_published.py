import pytest
import torch

from mmprune.models import published_keys_of, rename_published

RULES = ((r'^module\.', ''), (r'^(conv1|layer\d)\.', r'backbone.\1.'), (r'^fc\.', 'head.fc.'))


def test_renames_in_order_and_keeps_the_input():
    published = {'module.conv1.weight': torch.ones(1), 'module.layer1.0.x': torch.zeros(1), 'fc.bias': torch.ones(2)}
    before = list(published)
    renamed = rename_published(published, RULES)
    assert list(renamed) == ['backbone.conv1.weight', 'backbone.layer1.0.x', 'head.fc.bias']
    assert list(published) == before
    assert renamed['head.fc.bias'] is published['fc.bias']


def test_host_keys_are_left_alone():
    host = {'backbone.conv1.weight': 0, 'backbone.layer1.0.x': 1, 'head.fc.bias': 2}
    assert list(rename_published(host, RULES)) == list(host)


def test_colliding_keys_are_refused():
    with pytest.raises(ValueError, match=r'backbone\.conv1\.weight'):
        rename_published({'module.conv1.weight': 0, 'conv1.weight': 1}, RULES)


def _layer_names(prefix: str, numbers: list[int], last: int) -> dict[str, str]:
    return {f'{prefix}.{n}.weight': f'neck.layers.{n}.weight' for n in numbers} | {
        f'{prefix}.{last}.weight': 'head.fc.weight'
    }


CASES = {
    'resnet56_rg_cifar': {
        'conv.weight': 'backbone.conv1.weight',
        'bn.running_var': 'backbone.bn1.running_var',
        'layer2.0.downsample.0.weight': 'backbone.layer2.0.downsample.0.weight',
        'fc.weight': 'head.fc.weight',
    },
    'resnet18_rd_cifar': {
        'layer2.0.shortcut.0.weight': 'backbone.layer2.0.downsample.0.weight',
        'linear.bias': 'head.fc.bias',
    },
    'resnet18_dfbf_cifar': {
        'backbone.layer4.1.conv2.weight': 'backbone.layer4.1.conv2.weight',
        'classifier.weight': 'head.fc.weight',
    },
    'resnet50_lbyl_cifar100': {
        'module.conv1.weight': 'backbone.conv1.weight',
        'module.layer3.block_6.bn3.bias': 'backbone.layer3.5.bn3.bias',
        'layer1.block_1.conv1.weight': 'backbone.layer1.0.conv1.weight',
        'layer2.downsample.1.weight': 'backbone.layer2.0.downsample.1.weight',
        'fc.weight': 'head.fc.weight',
    },
    'vgg16_lbyl_cifar': {
        'feature.40.weight': 'backbone.features.40.weight',
        'module.features.1.bias': 'backbone.features.1.bias',
        **_layer_names('classifier', [0, 1], last=3),
    },
    'vgg16_dfbf_cifar': {
        'backbone.41.running_mean': 'backbone.features.41.running_mean',
        **_layer_names('classifier', [0, 3], last=6),
    },
    'vgg16_expanders_cifar': _layer_names('classifier', [0], last=3),
    'vgg16_rd_cifar': {'features.0.bias': 'backbone.features.0.bias', 'classifier.weight': 'head.fc.weight'},
    'vgg16_rg_cifar': {
        'features.conv0.weight': 'backbone.features.0.weight',
        'features.norm3.weight': 'backbone.features.8.weight',
        'features.conv16.weight': 'backbone.features.40.weight',
        'features.norm16.weight': 'backbone.features.41.weight',
        'classifier.linear1.weight': 'neck.layers.0.weight',
        'classifier.norm.weight': 'neck.layers.1.weight',
        'classifier.linear2.bias': 'head.fc.bias',
    },
    'densenet40_rg_cifar': {
        'conv.weight': 'backbone.stem.weight',
        'dense1.0.bn.weight': 'backbone.dense1.0.bn1.weight',
        'dense3.11.conv.weight': 'backbone.dense3.11.conv1.weight',
        'trans2.bn.bias': 'backbone.trans2.bn.bias',
        'bn.weight': 'backbone.bn.weight',
        'fc.bias': 'head.fc.bias',
    },
    'densenet121_rd_cifar': {
        'conv1.weight': 'backbone.stem.weight',
        'dense4.15.conv2.weight': 'backbone.dense4.15.conv2.weight',
        'trans3.conv.weight': 'backbone.trans3.conv.weight',
        'linear.weight': 'head.fc.weight',
    },
}


@pytest.mark.parametrize('name', CASES)
def test_every_published_layout_reaches_existing_parameters(build_classifier, name):
    with torch.device('meta'):
        model = build_classifier(name)
    rules = published_keys_of(model)
    host = model.state_dict()
    for published, expected in CASES[name].items():
        assert list(rename_published({published: None}, rules)) == [expected]
        assert expected in host, f'{expected} is no key of {name}'
    assert list(rename_published(host, rules)) == list(host)


def test_named_layers_of_the_redundancy_graph_vgg_reach_every_layer_in_order(build_classifier):
    plan = [64, 64, 'M', 128, 128, 'M', 256, 256, 256, 'M', 512, 512, 512, 'M', 512, 512, 512]
    published = {}
    for index, width in enumerate(plan):
        if width != 'M':
            published |= {f'features.conv{index}.{part}': None for part in ('weight', 'bias')}
            norm = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
            published |= {f'features.norm{index}.{part}': None for part in norm}
    with torch.device('meta'):
        model = build_classifier('vgg16_rg_cifar')
    host = [key for key in model.state_dict() if key.startswith('backbone.')]
    assert list(rename_published(published, published_keys_of(model))) == host

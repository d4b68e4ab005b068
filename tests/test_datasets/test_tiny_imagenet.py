"""Tiny ImageNet is read as it is unzipped, and as others sort it."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from mmprune.datasets import TinyImageNet
from mmprune.registry import DATASETS

CONFIG = Path(__file__).parents[2] / 'configs' / '_base_' / 'datasets' / 'tiny_imagenet_224.py'
VALIDATION = [('val_0.JPEG', 'n03'), ('val_1.JPEG', 'n01'), ('val_2.JPEG', 'n03')]


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(path)


@pytest.fixture
def unzipped(tmp_path: Path) -> Path:
    for folder in ('n03', 'n01', 'n02'):
        picture(tmp_path / 'train' / folder / 'images' / f'{folder}_0.JPEG')
        (tmp_path / 'train' / folder / f'{folder}_boxes.txt').write_text('0 0 1 1\n')
    for name, _ in VALIDATION:
        picture(tmp_path / 'val' / 'images' / name)
    lines = [f'{name}\t{folder}\t0\t0\t62\t57\n' for name, folder in VALIDATION]
    (tmp_path / 'val' / 'val_annotations.txt').write_text(''.join(lines))
    return tmp_path


def labels(dataset: TinyImageNet) -> list[tuple[str, int]]:
    return [
        (Path(item['img_path']).name, item['gt_label']) for item in map(dataset.get_data_info, range(len(dataset)))
    ]


def test_as_unzipped(unzipped: Path) -> None:
    train, val = (TinyImageNet(str(unzipped), split=split, pipeline=[]) for split in ('train', 'val'))
    assert labels(train) == [('n01_0.JPEG', 0), ('n02_0.JPEG', 1), ('n03_0.JPEG', 2)]
    assert labels(val) == [('val_0.JPEG', 2), ('val_1.JPEG', 0), ('val_2.JPEG', 2)]
    assert train.metainfo['classes'] == val.metainfo['classes'] == ('n01', 'n02', 'n03')


def test_sorted_by_hand_gives_the_same_labels(unzipped: Path) -> None:
    for name, folder in VALIDATION:
        (unzipped / 'val' / folder).mkdir(exist_ok=True)
        shutil.move(unzipped / 'val' / 'images' / name, unzipped / 'val' / folder / name)
    (unzipped / 'val' / 'images').rmdir()
    assert sorted(labels(TinyImageNet(str(unzipped), split='val', pipeline=[]))) == [
        ('val_0.JPEG', 2),
        ('val_1.JPEG', 0),
        ('val_2.JPEG', 2),
    ]


def test_what_is_missing_is_named(unzipped: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='set data_root'):
        TinyImageNet(str(tmp_path / 'elsewhere'), pipeline=[])
    with pytest.raises(ValueError, match="'test' is neither"):
        TinyImageNet(str(unzipped), split='test', pipeline=[])
    (unzipped / 'val' / 'val_annotations.txt').unlink()
    with pytest.raises(FileNotFoundError, match='val_annotations'):
        TinyImageNet(str(unzipped), split='val', pipeline=[])


def test_the_config_reads_it(unzipped: Path) -> None:
    cfg = Config.fromfile(CONFIG)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        dataset = loader.dataset
        dataset.data_root, dataset.pipeline = str(unzipped), []
        assert len(DATASETS.build(dataset)) == 3

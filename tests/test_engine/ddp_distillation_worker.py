"""One of the processes of the distributed distillation test.

Started as ``python -m tests.test_engine.ddp_distillation_worker FOLDER`` with torchrun's environment variables.
"""

import sys
from pathlib import Path
from unittest import mock

import torch

from tests.test_engine import tiny


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with mock.patch('mmprune.engine.hooks.pruning_hook.plot_report'):
        tiny.call('train', folder / 'two.py', '--work-dir', folder / 'two', '--launcher', 'pytorch')
        tiny.call('train', folder / 'two.py', '--work-dir', folder / 'resumed', '--launcher', 'pytorch', '--resume',
                  folder / 'two' / 'epoch_1.pth')


if __name__ == '__main__':
    main()

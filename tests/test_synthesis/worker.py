"""Makes images in a process of its own, or in one of several ranks.

``python -m tests.test_synthesis.worker FOLDER ITERATIONS``, with torchrun's environment variables for several ranks.
"""

import os
import sys

import torch
import torch.distributed as dist

from tests.test_synthesis.small import Classifier, quick, scope_of, trained


def synthesizer(iterations: int) -> object:
    return quick(num_images=44, phases=[dict(iterations=iterations, jitter=2)])


def main() -> None:
    torch.set_num_threads(1)
    if 'WORLD_SIZE' in os.environ:
        dist.init_process_group('gloo')
    store = synthesizer(int(sys.argv[2])).prepare(scope_of(trained(Classifier())), sys.argv[1])
    assert store.complete


if __name__ == '__main__':
    main()

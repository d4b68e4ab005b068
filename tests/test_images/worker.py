"""Makes images in a process of its own: ``python -m tests.test_images.worker FOLDER ITERATIONS``."""

import sys

import torch

from tests.test_images.small import Classifier, quick, scope_of, trained


def synthesizer(iterations: int) -> object:
    return quick(num_images=44, phases=[dict(iterations=iterations, jitter=2)])


def main() -> None:
    torch.set_num_threads(1)
    store = synthesizer(int(sys.argv[2])).prepare(scope_of(trained(Classifier())), sys.argv[1])
    assert store.complete


if __name__ == '__main__':
    main()

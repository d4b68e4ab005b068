"""Runs in these tests draw no pictures, and use one thread so that they are bit-equal."""

from unittest import mock

import pytest
import torch


@pytest.fixture(autouse=True)
def _quick() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with mock.patch('mmprune.engine.hooks.report_hook.plot_report'):
        yield
    torch.set_num_threads(threads)

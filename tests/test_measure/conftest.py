"""A clock that tests can trust."""

import pytest

from tests.test_measure.machine import Machine


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """All stopwatches go by this machine's clock."""
    return Machine(monkeypatch)

"""Fixtures that tests of several folders share."""

from collections.abc import Iterator

import pytest
from oracle.runtime import Oracle
from stub_libraries import StubError


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The real runtime's plans; skips where there is no C compiler or no onnxruntime-gpu."""
    try:
        found = Oracle()
    except StubError as error:
        pytest.skip(str(error))
    yield found
    found.close()

"""The browser that a file's tests of the page share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import Page, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with chromium() as page:
        page.resize(1280, 900)
        yield page

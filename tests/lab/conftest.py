"""One browser for all tests of pages."""

import os
from collections.abc import Iterator

import pytest
from browser import BROWSER, Chromium


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """Headless; tests that need it are skipped where there is none."""
    if not BROWSER or os.name == "nt":
        pytest.skip("no Chromium")
    browser = Chromium(tmp_path_factory.mktemp("browser"))
    yield browser
    browser.process.kill()
    browser.process.wait()

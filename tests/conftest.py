"""What every test can count on: no network, no file outside a temporary folder, the same random numbers every time."""

import os
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from my_llm.device import prepare_matrix_path

FOLDER = tempfile.TemporaryDirectory(prefix="my_llm_tests_")  # one per test process, removed when it ends
os.environ["MY_LLM_HOME"] = FOLDER.name  # runs/ and checkpoints/ go there
os.environ["MY_LLM_CACHE"] = str(Path(FOLDER.name, "cache"))  # what this user has downloaded changes no test
os.environ["MY_LLM_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:  # many test processes: one thread each, and so for the scripts that they start
    os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

prepare_matrix_path()  # before any test imports torch

settings.register_profile(
    "my_llm",
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
settings.load_profile("my_llm")

LONG = ("test_readme_commands.py", "test_reliability.py", "test_lab_docs.py", "test_lab_compare.py", "test_lab_tour.py")


def pytest_collection_modifyitems(items: list[pytest.Item]):
    """The longest files first: one that starts last would run alone while the other processes idle."""
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real corpora, $MY_LLM_DATA; a test that needs it is skipped where there is none."""
    folder = os.environ.get("MY_LLM_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("MY_LLM_DATA names no folder of real corpora")
    return Path(folder).resolve()


@pytest.fixture(autouse=True)
def ordinary_floats():
    """A script that ran inside a test has told the processor to take tiny numbers for 0; hypothesis needs them."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)

"""Fixtures that tests of several folders share, and in what order the files of tests go to the processes."""

from collections.abc import Iterator
from typing import Any

import pytest
from oracle.runtime import Oracle
from stub_libraries import StubError

EXPORTS = (
    "e2e/test_seed_failures.py", "e2e/test_profile_of_exports.py", "e2e/test_flops_of_exports.py",
    "e2e/test_difference_of_exports.py",
)  # fmt: skip
"""Files that share what repair makes of the bundled model's exports: they go to one process."""
LONGEST = (
    *EXPORTS, "cli/test_bench_sweep.py", "e2e/test_printed_commands.py", "e2e/test_outliers.py",
    "benchmarks/test_benchmarks.py", "e2e/", "test_api.py", "eval/bench/", "eval/run/", "benchmarks/", "tools/", "cli/",
)  # fmt: skip
"""Begin of the names of files that take longest. They go first: the last one of them decides when all have ended."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # one of several processes
        items.sort(key=lambda item: _rank(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """A file at a time, as `--dist loadfile` has it, in the order of the files and not of how many tests they hold."""
    from xdist.scheduler import LoadFileScheduling

    class Scheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0].partition("tests/")[2]
            return "exports" if file in EXPORTS else file

    config.option.loadscopereorder = False
    return Scheduling(config, log) if config.getvalue("dist") == "loadfile" else None


def _rank(nodeid: str) -> int:
    file = nodeid.partition("tests/")[2]
    return next((rank for rank, name in enumerate(LONGEST) if file.startswith(name)), len(LONGEST))


@pytest.fixture(scope="session")
def oracle() -> Iterator[Oracle]:
    """The real runtime's plans; skips where there is no C compiler or no onnxruntime-gpu."""
    try:
        found = Oracle()
    except StubError as error:
        pytest.skip(str(error))
    yield found
    found.close()

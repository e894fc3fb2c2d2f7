"""Every command that the README and the reports print can be pasted and does what it says."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import click
import pytest
from terminal import onnxfix

from onnxfix.cli.main import cli
from onnxfix.eval.demo import HOLDOUT

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/bench.md",
    "docs/report.md",
    "docs/quantization.md",
    "docs/python.md",
    "docs/ci.md",
    "docs/layouts.md",
)
COMMAND = re.compile(r"^(\$ )?(onnxfix [^\n]*)\n([^\n]*)", re.MULTILINE)


def printed(page: str) -> list[tuple[bool, str, str]]:
    """(whether its answer follows, the command, the line behind it) of all commands in blocks of a page."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    found = [match.groups() for block in blocks for match in COMMAND.finditer(block + "\n")]
    shell = [
        (bool(dollar), line, after) for dollar, line, after in found if not re.match(r"onnxfix(\.|:| imports)", line)
    ]
    return [(dollar, re.split(r" +# | >> | -> ", line)[0], after) for dollar, line, after in shell]


ALL = [(page, line) for page in PAGES for _, line, _ in printed(page)]


@pytest.mark.parametrize(("page", "line"), ALL, ids=[f"{page}: {line}" for page, line in ALL])
def test_every_command_of_the_pages_is_taken(page: str, line: str) -> None:
    _, name, *arguments = shlex.split(line)
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, line
    command.make_context(name, arguments)


def test_there_are_commands_in_the_pages() -> None:
    assert len(ALL) >= 15 and {line.split()[1] for _, line in ALL} >= {
        "diagnose",
        "repair",
        "extract",
        "export",
        "bench",
    }


@pytest.fixture(scope="module")
def tour(exports: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the README's commands are typed in: an export of the bundled model, its data, the script."""
    folder = tmp_path_factory.mktemp("tour")
    shutil.copy(exports["unoptimized"], folder / "unoptimized.onnx")
    shutil.copy(HOLDOUT, folder / "rows.parquet")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (script,) = re.findall(r"```python\n(import onnx_graphsurgeon.*?)```", readme, re.DOTALL)
    (folder / "gelu.py").write_text(script)
    return folder


def test_the_readmes_commands_print_what_it_says(tour: Path) -> None:
    """In their order, for one reads what another wrote. Of the answer, the file that it begins with."""
    ran = []
    for answered, line, after in printed("README.md"):
        _, name, *arguments = shlex.split(line)
        if not answered or name not in ("diagnose", "repair", "extract"):
            continue
        done = onnxfix(*arguments[:0], name, *arguments, cwd=tour)
        assert done.returncode in (0, 1) and done.stderr == "", (line, done.stderr)
        assert done.stdout.split()[0] == after.split()[0], line
        ran.append(name)
    assert ran.count("repair") >= 4 and {"diagnose", "extract"} <= set(ran)


def test_the_reports_repairs_do_away_with_what_they_are_for(tour: Path) -> None:
    for target in ("cuda", "cpu"):
        options = ("--target", target, "--format", "json")
        before = json.loads(onnxfix("diagnose", "unoptimized.onnx", *options, cwd=tour).stdout)
        lines: dict[str, set[str]] = {}
        for finding in before["findings"]:
            if finding["repair"]:
                lines.setdefault(finding["repair"], set()).add(finding["code"])
        for line, codes in lines.items():
            program, verb, file, *_ = shlex.split(line)
            assert (program, file) == ("onnxfix", "unoptimized.onnx") and verb in ("repair", "optimize")
            beside = (
                "-o",
                "repaired.onnx",
                "--format",
                "json",
                *(["--no-verify"] if verb == "repair" else ["--force"]),
            )
            done = onnxfix(*shlex.split(line)[1:], *beside, cwd=tour)
            assert done.returncode == 0, (line, done.stderr)
            assert not codes & {f["code"] for f in json.loads(done.stdout)["findings"]}, line
        assert {shlex.split(line)[1] for line in lines} == {"repair", "optimize"} or target == "cpu"
        assert any(codes >= {"F002", "F003", "F004", "F005"} for codes in lines.values())


def test_a_clean_report_ends_with_a_command_that_runs(tour: Path) -> None:
    assert onnxfix("repair", "unoptimized.onnx", "-o", "half.onnx", cwd=tour).returncode == 0
    last = onnxfix("diagnose", "half.onnx", "--target", "cuda", cwd=tour).stdout.splitlines()[-1]
    assert last == "next: onnxfix bench unoptimized.onnx half.onnx --no-torch"
    done = onnxfix(*shlex.split(last)[2:], "--rounds", "1", "--limit", "2", cwd=tour)
    assert done.returncode == 0 and (tour / "bench" / "REPORT.md").is_file(), done.stderr

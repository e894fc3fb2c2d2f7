"""Children that answer, hang, die, chatter, never start, and start others: real processes, and what is left of them."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.process.children import Child, CrashedError, RefusedError

WORKER = """
import json, os, subprocess, sys, tempfile, time
from onnxfix.nouns.errors import OnnxfixError

def answer(request):
    verb, *more = request
    return globals()[verb](*more)

def double(array): return 2 * array
def sleep(seconds): time.sleep(seconds)
def die(number): os.kill(os.getpid(), number)
def leave(code):
    print("last words", flush=True)
    os._exit(code)
def chatter():
    print("garbage", flush=True)
    os.write(1, bytes(range(256)) * 999)
    return sys.stdin.read()
def refuse(message, next_step): raise OnnxfixError(message, next_step)
def fail(message): raise ValueError(message)
def unsendable(): return lambda: None
def start(): return subprocess.Popen(["sleep", "60"]).pid
def temporary(): return tempfile.mkdtemp()
def environment(name): return os.environ.get(name)
def found(name):
    try:
        return __import__(name).__file__
    except ImportError:
        return "not found"
"""
ORPHAN = """import os, signal, sys
sys.path[:] = {path!r}
from onnxfix.nouns.process.children import Child
child = Child("child_worker")
print(child._process.pid, child.ask(("start",)), flush=True)
child.send(("sleep", 60))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "child_worker.py").write_text(WORKER)
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    return "child_worker"


def gone(pid: int) -> bool:
    """Within five seconds; one that nobody waited for yet is gone as well."""
    stat = Path(f"/proc/{pid}/stat")
    for _ in range(100):
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_answers_come_in_order_and_arrays_whole(worker: str) -> None:
    large = np.arange(1_000_000)
    with Child(worker) as child:
        child.send(("double", 1))
        child.send(("double", large))
        assert child.answer() == 2
        assert np.array_equal(child.answer(), 2 * large)
        assert child.alive()
    assert not child.alive()
    child.close()


def test_what_is_printed_is_in_the_log_and_harms_no_answer(worker: str) -> None:
    with Child(worker) as child:
        assert child.ask(("chatter",), 30) == "", "and there is nothing to read"
        assert child.log().startswith("garbage\n")
        assert child.ask(("double", 4), 30) == 8


def test_a_late_child_is_ended_with_what_it_started(worker: str) -> None:
    with Child(worker) as child:
        started = child.ask(("start",), 30)
        begin = time.monotonic()
        with pytest.raises(TimeoutError, match=r"^did not answer within 0.5 s$"):
            child.ask(("sleep", 60), 0.5)
        assert time.monotonic() - begin < 10
        assert not child.alive() and gone(started)
        with pytest.raises(CrashedError):
            child.ask(("double", 1), 30)


@pytest.mark.parametrize(
    ("number", "says"),
    [(signal.SIGKILL, "was ended by SIGKILL (out of memory?)"), (signal.SIGSEGV, "was ended by SIGSEGV"),
     (signal.SIGRTMIN + 2, f"was ended by signal {signal.SIGRTMIN + 2}")],
)  # fmt: skip
def test_death_by_signal(number: int, says: str, worker: str) -> None:
    with Child(worker) as child:
        started = child.ask(("start",), 30)
        with pytest.raises(CrashedError) as raised:
            child.ask(("die", number), 30)
        assert str(raised.value) == says and raised.value.by_signal
        assert not child.alive() and gone(started)


def test_an_exit_says_its_code_and_its_last_words(worker: str) -> None:
    with Child(worker) as child:
        with pytest.raises(CrashedError, match=r"^ended with exit code 3: last words$") as raised:
            child.ask(("leave", 3), 30)
        assert not raised.value.by_signal


def test_a_child_that_never_starts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    says = "exit code 1: ModuleNotFoundError: No module named 'there_is_none'"
    with Child("there_is_none") as child, pytest.raises(CrashedError, match=says):
        child.ask(("double", 1), 30)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no python"))
    with pytest.raises(OnnxfixError, match="no process can be started: No such file"):
        Child("there_is_none")


def test_errors_of_ours_come_whole_and_others_on_one_line(worker: str) -> None:
    with Child(worker) as child:
        with pytest.raises(RefusedError) as raised:
            child.ask(("refuse", "the model is bent", "straighten it"), 30)
        assert (raised.value.message, raised.value.next_step) == ("the model is bent", "straighten it")
        with pytest.raises(RefusedError, match=r"^two lines$"):
            child.ask(("fail", "two\nlines"), 30)
        with pytest.raises(RefusedError, match="lambda"):
            child.ask(("unsendable",), 30)
        with pytest.raises((pickle.PicklingError, AttributeError)):
            child.send(lambda: None)
        assert child.ask(("double", 4), 30) == 8


@pytest.mark.parametrize("entry", ["", "."])
def test_nothing_is_imported_from_the_current_folder(
    entry: str, worker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("json", "numpy", "pickle", "only_here"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'planted')!r}, 'w').close()")
    monkeypatch.chdir(here)
    monkeypatch.setattr(sys, "path", [entry, str(here), *sys.path])
    with Child(worker) as child:
        assert Path(child.ask(("found", "json"), 30)) == Path(subprocess.__file__).parent / "json" / "__init__.py"
        assert child.ask(("found", "numpy"), 30) == np.__file__
        assert child.ask(("found", "only_here"), 30) == "not found"
        assert not (tmp_path / "planted").exists()
    with Child(worker, factories=True) as child:  # behind all others
        assert child.ask(("found", "numpy"), 30) == np.__file__
        assert child.ask(("found", "only_here"), 30) == str(here / "only_here.py")
    monkeypatch.setattr(sys, "path", sys.path[2:])
    with Child(worker, factories=True) as child:
        assert child.ask(("found", "only_here"), 30) == "not found", "where we find none either"


def test_temporary_files_and_variables_are_its_own(worker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OURS", "ours")
    with Child(worker, {"THEIRS": "theirs"}) as child:
        assert child.ask(("environment", "OURS"), 30) == "ours"
        assert child.ask(("environment", "THEIRS"), 30) == "theirs" and "THEIRS" not in os.environ
        left = Path(child.ask(("temporary",), 30))
        assert left.is_dir()
    assert not left.exists()


def test_a_child_goes_with_whoever_started_it(worker: str) -> None:
    code = ORPHAN.format(path=sys.path)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == -signal.SIGKILL, done.stderr
    child, started = map(int, done.stdout.split())
    assert gone(child) and gone(started)

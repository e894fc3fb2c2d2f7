"""Where there is no POSIX, and where packages of extras are not installed, onnxfix can be imported all the same."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

POSIX = "crypt fcntl grp nis pty pwd readline resource spwd syslog termios tty".split()
OPTIONAL = "polars vl_convert torch transformers onnxscript safetensors tokenizers psutil openvino torchao".split()
RUNTIME = ["onnxruntime"]
# What hides a module hides it from us alone: the packages that we import are their authors' matter.
IMPORTS = """
import importlib, importlib.abc, json, pkgutil, sys

hidden, failed = set(sys.argv[1].split()), {}

class Hiding(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        ours = frame is not None and frame.f_globals.get("__name__", "").startswith("onnxfix")
        if ours and name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None

sys.meta_path.insert(0, Hiding())
import onnxfix
rooms = [onnxfix, *(importlib.import_module(f"onnxfix.{part}") for part in ("surgery", "diagnose", "eval", "export"))]
names = [m.name for room in rooms for m in pkgutil.walk_packages(room.__path__, room.__name__ + ".", lambda name: None)]
for name in names:
    for each in [m for m in sys.modules if m.partition(".")[0] in hidden]:
        del sys.modules[each]
    try:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
print(json.dumps([len(names), failed]))
"""


def imported(hidden: list[str]) -> tuple[int, dict[str, str]]:
    """The number of modules, and why those failed that did."""
    command = [sys.executable, "-c", IMPORTS, " ".join(hidden)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    count, failed = json.loads(done.stdout.splitlines()[-1])
    return count, failed


def test_every_module_can_be_imported_without_posix() -> None:
    count, failed = imported(POSIX)
    assert count > 300 and failed == {}


@pytest.mark.parametrize("hidden", [OPTIONAL, RUNTIME], ids=["without extras", "without a runtime"])
def test_the_command_and_the_door_can_be_imported_without_extras(hidden: list[str]) -> None:
    """Modules that are an extra's own may want it, and a process of its own the runtime that it is for; what every
    command goes through may not."""
    _, failed = imported(hidden)
    shared = ("onnxfix.cli", "onnxfix.api", "onnxfix.nouns", "onnxfix.surgery", "onnxfix.diagnose", "onnxfix.flows")
    assert not [name for name in failed if name.startswith(shared) and not name.endswith("_worker")], failed

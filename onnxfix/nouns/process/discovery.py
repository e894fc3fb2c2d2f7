"""What is found by walking a package's files: a new rule, pass or provider is a new file, and no list is edited; and
modules of the current folder that a user names."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import pkgutil
import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType


def modules_in(package: ModuleType) -> Iterator[ModuleType]:
    """Every module directly inside `package`, by name."""
    for info in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{info.name}")


def classes_in(package: ModuleType) -> Iterator[type]:
    """Every class defined (not imported) in a module directly inside `package`, in module order."""
    for module in modules_in(package):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ == module.__name__:
                yield kind


def from_here(name: str) -> ModuleType:
    """The module of a name, of the current folder first, which an installed command does not look into.

    What it imports itself is looked for there last: a numpy.py that lies beside it is not what it means. Raises what
    importing raises.
    """
    here, top = str(Path.cwd()), name.partition(".")[0]
    sys.path.append(here)
    try:
        spec = None if top in sys.modules else PathFinder.find_spec(top, [here])
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            sys.modules[top] = module
            try:
                spec.loader.exec_module(module)
            except BaseException:
                sys.modules.pop(top, None)
                raise
        return importlib.import_module(name)
    finally:
        sys.path.remove(here)

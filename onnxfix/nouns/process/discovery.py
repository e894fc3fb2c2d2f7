"""What is found by walking a package's files: a new rule, pass or provider is a new file, and no list is edited."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
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

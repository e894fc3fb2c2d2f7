"""Provider: an execution provider of ONNX Runtime, what it is called, how it is asked and what it does not run.

Imports nothing heavy: the command line lists providers before anything is loaded.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.process.discovery import modules_in


@dataclass(frozen=True, eq=False, kw_only=True)
class Provider:
    """What stands in one module of `onnxfix.nouns.runtime.providers`, as its `PROVIDER`; `str()` of it is its name."""

    name: str
    """On the command line, in the report's JSON, and as a class of the page's style sheet."""
    runtime_name: str
    """ONNX Runtime's name: `CUDAExecutionProvider`."""
    label: str
    """For people: `TensorRT`."""
    aliases: tuple[str, ...] = ()
    """What people call it besides, in lower case; none of them is taken, and each is answered with the name."""
    colours: tuple[str, str] = ("var(--other)", "var(--other)")
    """Of its nodes in a page, on white and on black."""
    behind: tuple[str, ...] = ()
    """Names of the providers that get what it leaves, in order: none for the CPU, which is the last of them."""
    device: str = ""
    """What its nodes work on and copies go to and from, `GPU`; empty for the host."""
    tabled: bool = False
    """Whether its kernels stand in the kernel tables."""
    forecaster: str = ""
    """`module:Class` of its Forecaster, where the kernel tables alone do not tell what it takes."""
    asks: str = ""
    """`module:function` that makes the whole plan by asking the provider's own runtime, for one without a forecast."""
    runner: str = ""
    """`module:class` of what runs a file on this host, for one that is another runtime than ONNX Runtime."""
    unmeasurable: Callable[[], tuple[str, str] | None] = lambda: None
    """What prevents measuring on it here, and what to do about it; None when nothing does."""
    leaves_shapes: bool = False
    """Whether it leaves arithmetic on shapes to the host although it has the kernels."""
    waiting: frozenset[str] | None = None
    """Operators whose kernels wait for the device, which no capture as a graph survives; None where none is made."""
    fuses_pairs: bool = False
    """Whether ONNX Runtime fuses QuantizeLinear and DequantizeLinear for it; others read the pairs themselves."""
    flat_blocks: bool = False
    """Whether its lookups take the flat index over the block size as the block, and 0 for a missing zero point."""
    refuses: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Schemes of `--int8` and precisions that do not run on it: why, after `--int8 SCHEME does not run `, and what to
    do."""
    flash: bool = False
    """Whether it has kernels for attention in half precision that keep no scores in memory, for one operator alone."""
    symmetric: bool = False
    """Whether its integers have no zero point."""
    blocks_by: str = ""
    """The environment variable that makes the host wait for each kernel when it is 1: so profiled times are true."""
    faster: frozenset[str] = frozenset({"pack"})
    """What of the fastest graphs it runs in fp32: fuse, cache (attention over one), pack, bands, rows."""
    array_device: str = ""
    """What torch and ONNX Runtime's arrays call its device; empty where the bench cannot run everything on it."""

    def __str__(self) -> str:
        return self.name

    @property
    def is_host(self) -> bool:
        """The CPU provider: where everything can lie, and what casts half precision and multiplies int8 by itself."""
        return not self.behind

    @property
    def chain(self) -> tuple[Provider, ...]:
        """Itself, then those that get what it leaves."""
        return (self, *map(named, self.behind))


def providers() -> tuple[Provider, ...]:
    """Every provider there is: those with kernel tables first, and devices before the host."""
    from onnxfix.nouns.runtime import providers as package

    return _found(tuple(package.__path__))


def named(name: str) -> Provider:
    """By the name on the command line. Raises OnnxfixError for one that there is not."""
    for each in providers():
        if each.name == name:
            return each
    near = meant(name)
    guess = f"did you mean '{near}'? There are" if near else "name one of"
    raise OnnxfixError(f"unknown target '{name}'", f"{guess} {', '.join(map(str, providers()))}")


def meant(text: str) -> str:
    """The name of the provider that somebody probably means; empty where nobody can tell."""
    names = {
        alias.lower(): each.name
        for each in providers()
        for alias in (each.name, each.label, each.runtime_name, *each.aliases)
    }
    near = difflib.get_close_matches(str(text).lower(), names, 1, 0.7)
    return names[near[0]] if near else ""


def placed_on(runtime_name: str) -> Provider:
    """By ONNX Runtime's name, which a node of a plan bears; a stand-in for one that no module is for, and for none."""
    for each in (*providers(), NONE):
        if each.runtime_name == runtime_name:
            return each
    short = runtime_name.removesuffix("ExecutionProvider")
    return Provider(name="other", runtime_name=runtime_name, label=short, behind=("cpu",))


def resolved(dotted: str) -> Any:
    """What `module:name` names."""
    module, _, name = dotted.partition(":")
    return getattr(importlib.import_module(module), name)


NONE = Provider(name="none", runtime_name="", label="no provider", behind=("cpu",))
"""Stands for the provider of a node that none has a kernel for."""


@functools.cache
def _found(path: tuple[str, ...]) -> tuple[Provider, ...]:
    """`path`: where the package's modules lie."""
    from onnxfix.nouns.runtime import providers as package

    found: list[Provider] = [module.PROVIDER for module in modules_in(package)]
    return tuple(sorted(found, key=lambda each: (not each.tabled, not each.device, each.name)))

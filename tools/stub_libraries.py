"""Stub CUDA, cuDNN and TensorRT libraries, so that onnxruntime-gpu's CUDA provider loads on a machine without a GPU.

It then plans graphs and shows its kernel definitions as on a real one; nothing it computes means anything. The
libraries have the sonames and exactly the symbols, with their versions, that the installed provider libraries ask for;
`stub_runtime.c` has the few functions whose result matters, all others return 0. Needs a C compiler. For maintainers
and tests, not installed.

usage: python tools/stub_libraries.py     prints the folder to put on LD_LIBRARY_PATH
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import elf_symbols

RUNTIME = Path(__file__).with_name("stub_runtime.c")
PROVIDERS = ("libonnxruntime_providers_cuda.so", "libonnxruntime_providers_tensorrt.so")
DRIVER, TENSORRT, CUDNN = "libcuda.so.1", "libnvinfer.so.10", "libcudnn.so.9"
_VENDOR = re.compile(r"lib(cu|nv)\w+\.so")

Exports = Mapping[str, Mapping[str, frozenset[str]]]
"""Functions by library and symbol version ('' where symbols have none)."""


class StubError(RuntimeError):
    """The stubs cannot be built here; the message is one line that says what is missing."""


def build(capi: Path | None = None, running: bool = False) -> Path:
    """The folder of stub libraries for the provider libraries in `capi`, by default the installed onnxruntime-gpu's.

    `running`: with what the provider looks up by name when nodes run, cuDNN and the driver's loader of modules, which
    it does not need for planning. Compiled once a set of symbols, into the user's cache folder. Raises StubError
    without cc or a CUDA provider.
    """
    exports = required(capi or _installed(), running)
    key = hashlib.sha256(RUNTIME.read_bytes() + repr(_sorted(exports)).encode()).hexdigest()[:16]
    folder = _cache() / f"stub-libraries-{key}"
    if folder.is_dir():
        return folder
    compiler = shutil.which("cc")
    if compiler is None:
        raise StubError("no C compiler: install cc to build stub CUDA libraries")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        made = Path(scratch) / "made"
        made.mkdir()
        for library, versions in exports.items():
            _compile(compiler, library, versions, made, Path(scratch))
        try:
            made.rename(folder)
        except OSError:  # another process was first
            if not folder.is_dir():
                raise
    return folder


def required(capi: Path, running: bool = False) -> dict[str, dict[str, frozenset[str]]]:
    """What the provider libraries in a folder need from NVIDIA's libraries."""
    if not (capi / PROVIDERS[0]).exists():
        raise StubError("no CUDA provider in this ONNX Runtime: install onnxruntime-gpu (Linux x86-64)")
    found: dict[str, dict[str, set[str]]] = {DRIVER: {"": set()}}
    for path in (capi / name for name in PROVIDERS if (capi / name).exists()):
        needed = elf_symbols.needs(path)
        for library in filter(_VENDOR.match, needed.libraries):
            found.setdefault(library, {})
        for name, library, version in needed.symbols:
            library = library or _owner(name)
            if _VENDOR.match(library):
                found.setdefault(library, {}).setdefault(version, set()).add(name)
    if running:
        for name in _looked_up((capi / PROVIDERS[0]).read_bytes()):
            versions = found.setdefault(CUDNN if name.startswith("cudnn") else DRIVER, {})
            versions.setdefault(next(iter(versions), ""), set()).add(name)  # the linker mixes no versions with none
    return {lib: {v: frozenset(names) for v, names in versions.items()} for lib, versions in found.items()}


def _looked_up(binary: bytes) -> set[str]:
    """Functions of cuDNN and of the driver that a library names in its strings."""
    return {
        name.decode()
        for name in re.findall(rb"\0(cudnn[A-Z]\w+|cu(?:Get|Func|Link|Module|Launch|Device)[A-Z]\w+)(?=\0)", binary)
    }


def _owner(name: str) -> str:
    """The library of a symbol without a version: only the driver and TensorRT have such."""
    if re.match(r"cu[A-Z]", name):
        return DRIVER
    return TENSORRT if re.search(r"Nv|Infer|PluginRegistry", name) else ""


def _compile(compiler: str, library: str, versions: Mapping[str, frozenset[str]], made: Path, scratch: Path) -> None:
    own = RUNTIME.read_text(encoding="utf-8")
    names = sorted({name for found in versions.values() for name in found})
    rest = [name for name in names if not re.search(rf"\b{re.escape(name)}\(", own)]
    source, script = scratch / f"{library}.c", scratch / f"{library}.map"
    # every library may carry the whole of stub_runtime.c: what it does not export is nobody's
    source.write_text(own + "".join(f"long {name}() {{ return 0; }}\n" for name in rest), encoding="utf-8")
    script.write_text(_version_script(versions), encoding="utf-8")
    command = [compiler, "-w", "-O1", "-shared", "-fPIC", str(source), "-o", str(made / library)]
    command.append(f"-Wl,-soname,{library}")
    if names:
        command.append(f"-Wl,--version-script={script}")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise StubError(f"cc could not build a stub of {library}: {done.stderr.strip().splitlines()[-1:]}")


def _version_script(versions: Mapping[str, frozenset[str]]) -> str:
    """The linker's list of what to export under which version; the rest is hidden, which one node may say."""
    nodes, hidden = [], " local: *;"
    for version, names in sorted(versions.items()):
        nodes.append(f"{version} {{ global: {' '.join(f'{name};' for name in sorted(names))}{hidden} }};\n")
        hidden = ""
    return "".join(nodes)


def _sorted(exports: Exports) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    return [(lib, [(v, sorted(n)) for v, n in sorted(versions.items())]) for lib, versions in sorted(exports.items())]


def _installed() -> Path:
    found = importlib.util.find_spec("onnxruntime")
    if found is None or found.origin is None:
        raise StubError("onnxruntime is not installed: install onnxruntime-gpu")
    return Path(found.origin).parent / "capi"


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onnxfix"


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{build()}\n")
    except StubError as error:
        sys.exit(str(error))

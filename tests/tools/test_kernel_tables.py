"""The generator of kernel tables: what ships is what it reads from the installed runtime, and doubt is an error."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

import elf_symbols
import kernel_dump
import kernel_tables
import onnxruntime
import pytest
import stub_libraries
from kernel_memory import HostArguments, LayoutError, host_arguments

from onnxfix.nouns.runtime.kernels import available


def stubs() -> Path:
    try:
        return stub_libraries.build()
    except stub_libraries.StubError as error:
        pytest.skip(str(error))


def test_the_shipped_table_is_what_the_installed_runtime_holds() -> None:
    folder = stubs()
    if onnxruntime.__version__ not in available():
        pytest.skip(f"no table of ONNX Runtime {onnxruntime.__version__} is shipped")
    done = subprocess.run(
        [sys.executable, kernel_dump.__file__],
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
        capture_output=True,
        text=True,
        check=True,
    )
    made = kernel_tables.packed(json.loads(done.stdout))
    shipped = resources.files("onnxfix.kernel_tables").joinpath(f"{onnxruntime.__version__}.json.xz").read_bytes()
    assert made == json.loads(lzma.decompress(shipped))


def definition(op_type: str, since: int, provider: str = kernel_dump.CUDA) -> SimpleNamespace:
    return SimpleNamespace(op_name=op_type, domain="", provider=provider, version_range=(since, kernel_dump.OPEN))


def release(hosts: dict[str, HostArguments]) -> tuple[list[SimpleNamespace], list[HostArguments]]:
    """Definitions of a release with every well-known operator: with the host arguments given, or the known ones."""
    known = [(definition(op, since), HostArguments(*host)) for (op, since), host in kernel_dump.KNOWN.items()]
    known = [(d, hosts.get(d.op_name, h)) for d, h in known]
    filling = [(definition("X", 1, p), HostArguments((), ())) for p in (kernel_dump.CUDA, kernel_dump.CPU)] * 500
    rows = known + filling
    return [d for d, _ in rows], [h for _, h in rows]


def test_what_is_known_of_the_releases_is_checked() -> None:
    kernel_dump._check(*release({}))
    with pytest.raises(LayoutError, match=r"host arguments of Reshape 5 read as \(\) and \(1,\), not \(\(1,\), \(\)\)"):
        kernel_dump._check(*release({"Reshape": HostArguments((), (1,))}))
    with pytest.raises(LayoutError, match="Gather"):
        kernel_dump._check(*release({"Gather": HostArguments((0,), ())}))
    definitions, hosts = release({})
    rest = [(d, h) for d, h in zip(definitions, hosts, strict=True) if d.op_name != "Cast"]
    with pytest.raises(LayoutError, match="no CUDA kernel of Cast"):
        kernel_dump._check([d for d, _ in rest], [h for _, h in rest])
    with pytest.raises(LayoutError, match="CUDA and 0 CPU"):
        kernel_dump._check([d for d in definitions if d.provider == kernel_dump.CUDA], hosts)


def test_objects_of_another_layout_are_refused() -> None:
    """Plain Python objects are as wrong as memory can be: reading them ends in an error, not in a crash or a table."""
    with pytest.raises(LayoutError):
        host_arguments([definition("Shape", 1), definition("Reshape", 5)])


def test_variants_are_merged_only_where_they_accept_the_same() -> None:
    variants = [{"T": ["float"], "I": ["int64"]}, {"T": ["float16"], "I": ["int64"]}, {"T": ["double"], "I": ["int32"]}]
    assert kernel_tables.merged(variants) == [
        {"T": ["float", "float16"], "I": ["int64"]},
        {"T": ["double"], "I": ["int32"]},
    ]


def test_type_strings_are_short_for_dense_tensors_only() -> None:
    assert kernel_tables.bare("tensor(float)") == "float"
    assert kernel_tables.bare("seq(tensor(float))") == "seq(tensor(float))"
    assert kernel_tables.bare("optional(tensor(float))") == "optional(tensor(float))"


def test_undefined_symbols_of_a_library(tmp_path: Path) -> None:
    """A library that calls the C library needs its function, under the version that the linker wrote."""
    stubs()
    source, library = tmp_path / "a.c", tmp_path / "liba.so"
    source.write_text(
        'int puts(const char *); int missing(void); int twice(void) { return puts("a") + missing(); }\n',
        encoding="utf-8",
    )
    subprocess.run(["cc", "-w", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    found = elf_symbols.needs(library)
    assert any(name.startswith("libc.so") for name in found.libraries)
    assert ("missing", "", "") in found.symbols
    assert any((name, lib[:7]) == ("puts", "libc.so") and version for name, lib, version in found.symbols)
    assert not any(name == "twice" for name, _, _ in found.symbols)
    with pytest.raises(ValueError, match=r"a\.c is not a 64-bit"):
        elf_symbols.needs(source)


def test_without_a_cuda_provider_the_error_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(stub_libraries.StubError, match="install onnxruntime-gpu"):
        stub_libraries.build(tmp_path)


def test_without_a_compiler_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stubs()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(stub_libraries.StubError, match="install cc"):
        stub_libraries.build()

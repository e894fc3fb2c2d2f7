"""Make the kernel table of an ONNX Runtime release: which kernels it has, their host arguments, and all its schemas.

usage: python tools/kernel_tables.py VERSION [--wheel FILE] [-o FOLDER]

Downloads the release's onnxruntime-gpu wheel (or takes the one given) for this Python on Linux x86-64, unpacks it into
a throw-away folder, builds stub CUDA and TensorRT libraries for it, and writes FOLDER/VERSION.json.xz. Nothing is
installed, and no GPU is needed: cc, pip and numpy are. The memory layout of the release's kernel definitions is found
anew and checked (kernel_memory.py, kernel_dump.py): a release that does not fit is one line of error, never a table.

Made this way so far: 1.23.2 and 1.24.4 (CUDA 12 builds), 1.30.0 and 1.31.1 (CUDA 13); all have one layout.
Of 187 random graphs, a forecast with the 1.24.4 table gives no node another provider than the real 1.24.4 does, and
copies differ in 2, for what its optimiser did not do yet. That holds with ONNX Runtime 1.30 or 1.31 installed, whose
ModelCompiler makes the graph: 1.24's own refuses graphs that its sessions take (float16 without CPU kernels, bodies).
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import stub_libraries

HERE = Path(__file__).parent
TABLES = HERE.parent / "onnxfix" / "kernel_tables"
CUDA, CPU = PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")

Types = dict[str, list[str]]
Row = dict[str, Any]


class TableError(RuntimeError):
    """The table cannot be made; the message is one line that says why."""


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the kernel table of an ONNX Runtime release.")
    parser.add_argument("version")
    parser.add_argument("--wheel", type=Path, help="the release's onnxruntime-gpu wheel, downloaded if not given")
    parser.add_argument("-o", "--output", type=Path, default=TABLES, metavar="FOLDER")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="onnxfix-wheel-") as folder:
            wheel = options.wheel or download(options.version, Path(folder))
            raw = dumped(wheel, Path(folder) / "unpacked")
        if raw["version"] != options.version:
            raise TableError(f"the wheel holds ONNX Runtime {raw['version']}, not {options.version}")
        target = options.output / f"{options.version}.json.xz"
        target.write_bytes(compressed(packed(raw)))
    except (TableError, stub_libraries.StubError) as error:
        sys.exit(str(error))
    counts = f"{len(raw['kernels'])} kernel definitions, {len(raw['schemas'])} schemas"
    sys.stdout.write(f"{target}: {counts}, {target.stat().st_size / 1e3:.0f} kB; layout {raw['layout']}\n")


def download(version: str, folder: Path) -> Path:
    """The release's wheel for this Python and machine."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), f"onnxruntime-gpu=={version}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = next(folder.glob("onnxruntime_gpu-*.whl"), None)
    if done.returncode or wheel is None:
        python = f"{sys.version_info.major}.{sys.version_info.minor}"
        raise TableError(f"no wheel of onnxruntime-gpu {version} for Python {python}: {_last_line(done.stderr)}")
    return wheel


def dumped(wheel: Path, folder: Path) -> dict[str, Any]:
    """What kernel_dump.py says in a process that imports the wheel's onnxruntime."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    stubs = stub_libraries.build(folder / "onnxruntime" / "capi")
    environment = os.environ | {"PYTHONPATH": str(folder), "LD_LIBRARY_PATH": str(stubs)}
    command = [sys.executable, str(HERE / "kernel_dump.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise TableError(f"{wheel.name}: {_last_line(done.stderr)}")
    raw: dict[str, Any] = json.loads(done.stdout)
    return raw


def packed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The table as `nouns.runtime.kernels` reads it, in an order of its own so that equal releases give equal files."""
    kernels: dict[str, Any] = {provider: {} for provider in PROVIDERS}
    for key, variants in _by_kernel(k for k in raw["kernels"] if k["provider"] in PROVIDERS).items():
        provider, domain, op_type, since, until, host_inputs, host_outputs = key
        row: Row = {"since": since, "until": until}
        row |= {"host_inputs": list(host_inputs)} if host_inputs else {}
        row |= {"host_outputs": list(host_outputs)} if host_outputs else {}
        row["types"] = merged(variants)
        kernels[provider].setdefault(domain, {}).setdefault(op_type, []).append(row)
    schemas: dict[str, Any] = {}
    for schema in sorted(raw["schemas"], key=lambda s: (s["domain"], s["op_type"], s["since"])):
        operators = schemas.setdefault(_domain(schema), {})
        operators.setdefault(schema["op_type"], []).append(_schema(schema))
    source = f"onnxruntime-gpu {raw['version']} for Linux x86-64"
    lists = _numbered([row for domains in (*kernels.values(), schemas) for row in _rows(domains)])
    head = {"onnxruntime": raw["version"], "source": source, "type_lists": lists}
    return head | {"kernels": kernels, "schemas": schemas}


def _rows(domains: Mapping[str, Any]) -> Iterator[Row]:
    for operators in domains.values():
        for rows in operators.values():
            yield from rows


def _numbered(rows: list[Row]) -> list[list[str]]:
    """Replace each list of types by its number: there are a few hundred different ones in some 7,000 places."""
    numbers: dict[tuple[str, ...], int] = {}
    for row in rows:
        variants = row["types"] if isinstance(row["types"], list) else [row["types"]]
        for types in variants:
            for name, allowed in types.items():
                types[name] = numbers.setdefault(tuple(allowed), len(numbers))
    return [list(allowed) for allowed in numbers]


def _by_kernel(definitions: Iterable[Row]) -> dict[tuple[Any, ...], list[Types]]:
    """The type variants of each kernel: definitions that differ in nothing else."""
    found: dict[tuple[Any, ...], list[Types]] = {}
    for row in definitions:
        # a CPU kernel may be registered with host arguments too (Memcpy), which says nothing there
        hosts = ((), ()) if row["provider"] == CPU else (tuple(row["host_inputs"]), tuple(row["host_outputs"]))
        key = (row["provider"], _domain(row), row["op_type"], row["since"], row["until"], *hosts)
        types = {name: sorted(bare(t) for t in allowed) for name, allowed in sorted(row["types"].items())}
        found.setdefault(key, []).append(types)
    order = sorted(found, key=lambda key: (*key[:4], key[4] or 0, *key[5:]))
    return {key: sorted(found[key], key=str) for key in order}


def merged(variants: list[Types]) -> list[Types]:
    """Variants that differ in one constraint become one with both types: they accept the same nodes."""
    done: list[Types] = []
    for types in variants:
        for other in done:
            different = [name for name in types if other.get(name) != types[name]]
            if other.keys() == types.keys() and len(different) <= 1:
                other.update({name: sorted({*other[name], *types[name]}) for name in different})
                break
        else:
            done.append(dict(types))
    return done


def _schema(schema: Row) -> Row:
    row: Row = {"since": schema["since"]}
    row |= {"deprecated": True} if schema["deprecated"] else {}
    for side in ("inputs", "outputs"):
        row[side] = [[*formal[:3]] if formal[3] else formal for formal in schema[side]]
    row["types"] = {name: sorted(bare(t) for t in allowed) for name, allowed in schema["types"].items()}
    return row


def _domain(row: Row) -> str:
    return "" if row["domain"] == "ai.onnx" else str(row["domain"])


def bare(type_string: str) -> str:
    """`float` for `tensor(float)`; sequences and optionals stay as they are."""
    inner = type_string.removeprefix("tensor(").removesuffix(")")
    return inner if type_string == f"tensor({inner})" and "(" not in inner else type_string


def compressed(table: Mapping[str, Any]) -> bytes:
    text = json.dumps(table, separators=(",", ":"))
    return lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


if __name__ == "__main__":
    main()

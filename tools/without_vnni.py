"""Compares onnxfix's emulation of 16-bit pair sums with the real ONNX Runtime on a CPU without VNNI, bit by bit.

Such a CPU is found on any x86-64 Linux, in one of three ways: `avx2` and `avx512` hide VNNI from the runtime on this
very CPU (hide_vnni.c; needs cc and a CPU whose cpuid instruction can fault), and then its own AVX2 or AVX512BW kernels
run at full speed; `qemu` emulates a Haswell (Debian's qemu-user, 7.2 or newer; it knows no AVX512).

With ONNX Runtime 1.31.1 all three give the same: every form of tests/saturation_cases.py is equal to its
emulation, and exact with `session.x64quantprecision`; uint8 × uint8, int8 × int8 and MatMulNBits of 8 bits at accuracy
level 4 lose nothing.

usage: python tools/without_vnni.py [avx2 | avx512 | qemu]      all that work here by default
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from onnxfix.nouns.model import Model

TOOLS = Path(__file__).parent
TESTS = TOOLS.parent / "tests"
WAYS = ("avx2", "avx512", "qemu")
PRECISE = {"session.x64quantprecision": "1"}
Array = np.ndarray[Any, Any]


class MissingError(RuntimeError):
    """This machine cannot run the runtime that way; the message is one line that says what is missing."""


def main() -> None:
    asked, failed = sys.argv[1:], False
    if any(way not in WAYS for way in asked):
        sys.exit(f"usage: python tools/without_vnni.py [{' | '.join(WAYS)}]")
    sys.path.insert(0, str(TESTS))
    for way in asked or WAYS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            try:
                command, environment = prefix(way, folder)
                sys.stdout.write(f"{way}\n")
                failed |= not compare(folder, command, environment)
            except MissingError as error:
                sys.stderr.write(f"without_vnni: error: {way}: {error}\n")
                failed |= bool(asked)
    sys.exit(failed)


def prefix(way: str, folder: Path) -> tuple[list[str], dict[str, str]]:
    """What to write before a command, and its environment. Raises MissingError."""
    packages = [path for path in sys.path if path.endswith("site-packages")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(packages), "OPENBLAS_NUM_THREADS": "1"}
    if way == "qemu":
        found = shutil.which("qemu-x86_64")
        if found is None:
            raise MissingError("no qemu-x86_64: install qemu-user")
        return [found, "-cpu", "Haswell"], environment
    compiler, library = shutil.which("cc"), folder / "hide_vnni.so"
    if compiler is None:
        raise MissingError("no C compiler: install cc to build hide_vnni.c")
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", "-o", library, TOOLS / "hide_vnni.c"], check=True)
    environment |= {"LD_PRELOAD": str(library)} | ({"HIDE_AVX512": "1"} if way == "avx2" else {})
    if subprocess.run(["true"], env=environment, check=False).returncode:
        raise MissingError("this CPU's cpuid instruction cannot fault, so that VNNI cannot be hidden; use qemu")
    if way == "avx512" and "avx512bw" not in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        raise MissingError("this CPU has no AVX512BW")
    return [], environment


def compare(folder: Path, command: list[str], environment: Mapping[str, str]) -> bool:
    """Run all cases there and here, print a line for each, and say whether all agree."""
    import graphs
    from saturation_cases import CASES

    from onnxfix.eval.numerics.saturation import saturated

    cases = {name: case for name, case in CASES.items() if case.shape[0]}
    expected: dict[str, Array] = {}
    for number, (name, case) in enumerate(cases.items()):
        model, activation = case.model(), case.activation()
        feed = {model.graph.inputs[0].name or "": case.feed(activation)}
        model.save(folder / f"{number}.onnx")
        np.savez(folder / f"{number}.npz", allow_pickle=False, **feed)
        expected[name] = graphs.run(saturated(model), feed)["y"]
    exact = _others(folder, len(cases))
    python = str(Path(sys.executable).resolve())
    code = (
        f"import sys; sys.path.insert(0, {str(TOOLS)!r}); import without_vnni; without_vnni.run_there({str(folder)!r})"
    )
    there = subprocess.run([*command, python, "-c", code], env=environment, capture_output=True, text=True, check=False)
    if there.returncode:
        raise MissingError(f"the runtime does not run there: {(there.stderr.strip().splitlines() or ['?'])[-1]}")
    agreed = True
    for number, (name, emulated) in enumerate(expected.items()):
        real, precise = np.load(folder / f"{number}.default.npy"), np.load(folder / f"{number}.precise.npy")
        equal = np.array_equal(real, emulated)
        agreed &= equal
        said = "equal to the emulation" if equal else f"{np.mean(real != emulated):.0%} differ from the emulation"
        sys.stdout.write(f"  {name:64s} {said}, {relative(real, precise):.2f} from x64quantprecision\n")
    for number, (name, truth, limit) in enumerate(exact, start=len(cases)):
        error = relative(np.load(folder / f"{number}.default.npy"), truth)
        agreed &= error <= limit
        sys.stdout.write(f"  {name:64s} {error:.1e} from exact\n")
    return agreed


def _others(folder: Path, number: int) -> list[tuple[str, Array, float]]:
    """Products that do not saturate: written as further cases, with their exact result and the error they may have."""
    import graphs

    rng = np.random.default_rng(0)
    made: list[tuple[str, Model, Array, Array, float]] = []
    for left, right in (("uint8", "uint8"), ("int8", "int8"), ("int8", "uint8")):
        a, w = (np.full((5, 64), np.iinfo(left).max, left), np.full((64, 32), np.iinfo(right).max, right))
        a[:, ::5] = rng.integers(0, 100, a[:, ::5].shape)
        text = f"g ({left}[m,64] x) => (int32[m,32] y) {{ y = MatMulInteger(x, w) }}"
        made.append(
            (f"{left} × {right}", graphs.model(text, {"w": w}), a, a.astype(np.int64) @ w.astype(np.int64), 0.0)
        )
    w = rng.integers(0, 256, (64, 8, 32)).astype(np.uint8)
    w[:, :, ::3] = 255
    x = (rng.random((5, 256)) * 2).astype(np.float32)
    text = """g (float[m,256] x) => (float[m,64] y) {
        y = com.microsoft.MatMulNBits<K = 256, N = 64, bits = 8, block_size = 32, accuracy_level = 4>(x, w, s) }"""
    exact = x.astype(np.float64) @ ((w.reshape(64, 256).astype(np.float64) - 128) * 0.01).T
    weights = {"w": w, "s": np.full(64 * 8, 0.01, np.float32)}
    made.append(("MatMulNBits of 8 bits, accuracy level 4", graphs.model(text, weights), x, exact, 1e-2))
    for place, (_, model, feed, _, _) in enumerate(made, start=number):
        model.save(folder / f"{place}.onnx")
        np.savez(folder / f"{place}.npz", x=feed)
    return [(name, truth, limit) for name, _, _, truth, limit in made]


def run_there(folder: str) -> None:
    """In the other process: every model of the folder, as it is and with `x64quantprecision`."""
    import onnxruntime

    for path in Path(folder).glob("*.onnx"):
        with np.load(path.with_suffix(".npz")) as stored:
            feed = dict(stored)
        for name, entries in (("default", {}), ("precise", PRECISE)):
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = 1, 4
            for key, value in entries.items():
                options.add_session_config_entry(key, value)
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            np.save(path.with_suffix(f".{name}.npy"), session.run(["y"], feed)[0])


def relative(candidate: Array, reference: Array) -> float:
    wide = reference.astype(np.float64)
    return float(np.linalg.norm(candidate.astype(np.float64) - wide) / np.linalg.norm(wide))


if __name__ == "__main__":
    main()

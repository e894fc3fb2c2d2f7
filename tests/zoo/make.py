"""Make the zoo: `python tests/zoo/make.py [--out FOLDER] [--size small|full] [--only NAME ...]`.

Each architecture is exported by torch's dynamo exporter with and without its optimizer and by the TorchScript one, in a
process of its own (ModernBERT-large takes 9 GB and two minutes). What exists is not made again; what an exporter fails
at is written to NAME-EXPORTER.failed with its reason.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from zoo.architectures import ARCHITECTURES, BY_NAME, EXPORTERS, Architecture

DEFAULT_FOLDER = Path(tempfile.gettempdir()) / "onnxfix-zoo"


def export(architecture: Architecture, exporter: str, folder: Path) -> Path | None:
    """The file of one member, made unless it is there; None where the exporter failed, with the reason beside."""
    path = folder / f"{architecture.name}-{exporter}.onnx"
    failed = path.with_suffix(".failed")
    if path.exists():
        return path
    if failed.exists():
        return None
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            _export(architecture, exporter, path)
    except Exception as error:  # exporters raise anything
        path.unlink(missing_ok=True)
        failed.write_text(f"{type(error).__name__}: {' '.join(str(error).split())[:500]}\n", encoding="utf-8")
        return None
    return path


def _export(architecture: Architecture, exporter: str, path: Path) -> None:
    import torch

    module, inputs, axes = architecture.module(), architecture.inputs(), architecture.axes()
    names, values = list(inputs), tuple(inputs.values())
    outputs = ["last_hidden_state"]
    with torch.no_grad():
        if exporter == "legacy":
            every = {**axes, "last_hidden_state": {0: "batch"}}
            torch.onnx.export(
                module,
                values,
                path,
                dynamo=False,
                opset_version=17,
                dynamic_axes=every,
                input_names=names,
                output_names=outputs,
            )
        else:
            torch.onnx.export(
                module,
                values,
                path,
                dynamo=True,
                optimize=exporter == "dynamo",
                dynamic_shapes=tuple(axes.values()),
                external_data=not architecture.small,
                verbose=False,
                input_names=names,
                output_names=outputs,
            )


def make(names: Sequence[str], folder: Path) -> None:
    """Every exporter on each architecture, one process at a time."""
    for name in names:
        for exporter in EXPORTERS:
            command = [sys.executable, __file__, "--one", name, exporter, "--out", str(folder)]
            if not list(folder.glob(f"{name}-{exporter}.*")):
                subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
            failed = folder / f"{name}-{exporter}.failed"
            sys.stdout.write(f"{name:18}{exporter:13}{failed.read_text().strip() if failed.exists() else 'ok'}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--size", choices=["small", "full"], default="full")
    parser.add_argument("--only", nargs="*", choices=list(BY_NAME))
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        return 0 if export(BY_NAME[given.one[0]], given.one[1], given.out) else 1
    names = given.only or [a.name for a in ARCHITECTURES if a.small or given.size == "full"]
    make(names, given.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())

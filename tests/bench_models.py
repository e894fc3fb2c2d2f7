"""Tiny real models for the bench tests: a bag-of-embeddings classifier as ONNX and as a torch module."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.parser
from onnx import numpy_helper

from onnxfix.eval.inputs.workload import Workload

VOCABULARY, WIDTH, CLASSES = 40, 16, 4
HEAD = """
<ir_version: 10, opset_import: ["" : 20]>
classifier (int64[N, S] input_ids, int64[N, S] attention_mask) => (float[N, 4] category) {
  embedded = Gather(table, input_ids)
  mask = Cast<to = 1>(attention_mask)
  axis = Constant<value_ints = [2]>()
  one = Constant<value_ints = [1]>()
  column = Unsqueeze(mask, axis)
  kept = Mul(embedded, column)
  pooled = ReduceSum<keepdims = 0>(kept, one)
"""


def weights() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(table, kernel): float32, the same ones always."""
    rng = np.random.default_rng(3)
    table = rng.standard_normal((VOCABULARY, WIDTH)).astype(np.float32)
    return table, rng.standard_normal((WIDTH, CLASSES)).astype(np.float32)


def save_onnx(path: Path, *, slow_steps: int = 0, kernel_factor: float = 1.0) -> Path:
    """The classifier; `slow_steps` square matrix products of a power of the identity make it slow, not other."""
    lines, last = [], "pooled"
    for step in range(slow_steps):
        lines.append(f"  spin{step} = MatMul({'spin' if step == 0 else f'spin{step - 1}'}, spin)")
    if slow_steps:
        lines += [f"  part = Slice(spin{slow_steps - 1}, begin, end)", "  mixed = MatMul(pooled, part)"]
        last = "mixed"
    text = "\n".join([HEAD.rstrip(), *lines, f"  category = MatMul({last}, kernel)", "}"])
    model = onnx.parser.parse_model(text)
    table, kernel = weights()
    tensors = {"table": table, "kernel": kernel * np.float32(kernel_factor)}
    if slow_steps:
        # Made from a graph input, or the runtime would fold the products away when it loads the model.
        tensors |= {"begin": np.array([0, 0]), "end": np.array([WIDTH, WIDTH]), "eye": np.eye(320, dtype=np.float32)}
        _spin_from_input(model)
    model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in tensors.items())
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _spin_from_input(model: onnx.ModelProto) -> None:
    """spin = eye · max(max(mask), 1): the identity, but known only when the model runs."""
    made = [
        onnx.helper.make_node("ReduceMax", ["mask"], ["brightest"], keepdims=0),
        onnx.helper.make_node("Mul", ["eye", "brightest"], ["spin"]),
    ]
    for offset, node in enumerate(made):
        model.graph.node.insert(2 + offset, node)


def torch_classifier(factor: float = 1.0) -> tuple[Any, list[str], list[str]]:
    """The same classifier in torch."""
    import torch

    table, kernel = weights()

    class Classifier(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Parameter(torch.from_numpy(table))
            self.kernel = torch.nn.Parameter(torch.from_numpy(kernel * np.float32(factor)))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor]:
            kept = self.table[input_ids] * attention_mask.unsqueeze(2)
            return (kept.sum(1) @ self.kernel,)

    return Classifier(), ["input_ids", "attention_mask"], ["category"]


def torch_module() -> tuple[Any, dict[str, Any]]:
    """What `--factory` wants: the module and example inputs."""
    import torch

    ids = torch.ones(2, 6, dtype=torch.int64)
    return torch_classifier()[0], {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def killed_classifier() -> tuple[Any, list[str], list[str]]:
    """A load that takes its process down, as a crash in a native library does."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def sleeping_classifier(seconds: float) -> tuple[Any, list[str], list[str]]:
    """The classifier, which sleeps a while before each batch."""
    import time

    module, inputs, outputs = torch_classifier()
    module.register_forward_pre_hook(lambda *_: time.sleep(seconds) if seconds else None)
    return module, inputs, outputs


def paced_classifier(packs: bool, a_token: float = 2e-4) -> tuple[Any, list[str], list[str]]:
    """The classifier, which takes so many seconds a token, of padding too unless it packs."""
    import time

    module, inputs, outputs = torch_classifier()

    def sleep(_module: Any, _given: tuple[Any, ...], named: dict[str, Any]) -> None:
        mask = named["attention_mask"]
        time.sleep(a_token * float(mask.sum() if packs else mask.numel()))

    module.register_forward_pre_hook(sleep, with_kwargs=True)
    return module, inputs, outputs


def limited_classifier(longest: int) -> tuple[Any, list[str], list[str]]:
    """The classifier, which takes no more tokens, as one with a table of positions."""
    module, inputs, outputs = torch_classifier()

    def check(_module: Any, _given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if (length := named["input_ids"].shape[1]) > longest:
            raise IndexError(f"index {length} is out of range of {longest} positions")

    module.register_forward_pre_hook(check, with_kwargs=True)
    return module, inputs, outputs


def mortal_classifier(runs: int) -> tuple[Any, list[str], list[str]]:
    """The classifier, whose process is killed in this run of it, as by the kernel when memory ends."""
    module, inputs, outputs = torch_classifier()
    left = iter(range(runs - 1))
    module.register_forward_pre_hook(
        lambda *_: os.kill(os.getpid(), signal.SIGKILL) if next(left, None) is None else None
    )
    return module, inputs, outputs


def waiting_classifier(marker: Path) -> tuple[Any, list[str], list[str]]:
    """The classifier, once a file is there."""
    if not marker.exists():
        raise FileNotFoundError(f"{marker.name} is missing")
    return torch_classifier()


def shuffled_classifier() -> tuple[Any, list[str], list[str]]:
    """The classifier with its classes in another order."""
    module, inputs, outputs = torch_classifier()
    module.register_forward_hook(lambda _module, _inputs, output: (output[0].roll(1, dims=1),))
    return module, inputs, outputs


def counted_classifier(log: Path, name: str) -> tuple[Any, list[str], list[str]]:
    """The classifier, which writes a line for every time it is loaded."""
    with log.open("a") as file:
        file.write(f"{name}\n")
    return torch_classifier()


def fatal_classifier(log: Path, name: str, loads: int) -> tuple[Any, list[str], list[str]]:
    """As counted, but with this number of loads it ends the bench itself, as a power cut would: once."""
    found = counted_classifier(log, name)
    if log.read_text().splitlines().count(name) == loads:
        os.kill(os.getppid(), signal.SIGKILL)
    return found


def hungry_classifier() -> tuple[Any, list[str], list[str]]:
    """Wants more memory than its process may have."""
    import resource

    module, inputs, outputs = torch_classifier()
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, resource.RLIM_INFINITY))
    import numpy

    module.ballast = numpy.ones(1 << 33, dtype=numpy.uint8)
    return module, inputs, outputs


def picky_classifier() -> tuple[Any, list[str], list[str]]:
    """Refuses any batch that is not of 8 rows."""
    import torch

    module, inputs, outputs = torch_classifier()

    def check(_module: torch.nn.Module, _args: object, kwargs: dict[str, torch.Tensor]) -> None:
        rows = len(kwargs["input_ids"])
        if rows != 8:
            raise ValueError(f"{rows} rows")

    module.register_forward_pre_hook(check, with_kwargs=True)
    return module, inputs, outputs


def workload(rows: int = 48) -> Workload:
    """Rows of 3 to 12 tokens; gold is what the classifier itself says, but for every 6th row."""
    rng = np.random.default_rng(5)
    table, kernel = weights()
    samples, gold = [], []
    for row in range(rows):
        ids = rng.integers(1, VOCABULARY, int(rng.integers(3, 13)))
        samples.append({"input_ids": ids, "attention_mask": np.ones_like(ids)})
        answer = int(np.argmax(table[ids].sum(0) @ kernel))
        gold.append((answer + 1) % CLASSES if row % 6 == 0 else answer)
    classes = {"category": [f"class{i}" for i in range(CLASSES)]}
    return Workload(f"{rows} made rows", tuple(samples), classes=classes, gold={"category": np.array(gold)})


def linear_classifier() -> tuple[Any, list[str], list[str]]:
    """An embedding of 256, two linears and a buffer."""
    import torch

    torch.manual_seed(0)

    class Linears(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = torch.nn.Embedding(VOCABULARY, 256)
            self.inner = torch.nn.Linear(256, 512)
            self.outer = torch.nn.Linear(512, CLASSES, bias=False)
            self.register_buffer("shift", torch.ones(256))

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> dict[str, torch.Tensor]:
            kept = (self.table(input_ids) + self.shift) * attention_mask.unsqueeze(2)
            return {"category": self.outer(torch.relu(self.inner(kept.mean(1))))}

    return Linears(), ["input_ids", "attention_mask"], ["category"]


def linear_module() -> tuple[Any, dict[str, Any]]:
    """The same for `--factory`."""
    import torch

    ids = torch.ones(2, 6, dtype=torch.int64)
    return linear_classifier()[0], {"input_ids": ids, "attention_mask": torch.ones_like(ids)}

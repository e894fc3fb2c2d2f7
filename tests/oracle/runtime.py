"""Oracle: what the installed onnxruntime-gpu plans for model files, with stub CUDA libraries in place of a GPU.

One child process plans many models (a start costs 0.5 s); a new one follows if the runtime takes it down.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stub_libraries

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class RuntimePlan:
    """What the runtime did. `nodes`: (provider, name, operator), after basic optimisations and sub-graphs included;
    `copies`: (direction, value); `error`: its message when it refuses the model, and then the rest is empty."""

    nodes: tuple[tuple[str, str, str], ...] = ()
    copies: tuple[tuple[str, str], ...] = ()
    error: str = ""

    @staticmethod
    def of(raw: dict[str, Any]) -> RuntimePlan:
        nodes = tuple(sorted((provider, name, op_type) for provider, name, op_type in raw["nodes"]))
        return RuntimePlan(nodes, tuple(sorted((direction, value) for direction, value in raw["copies"])), raw["error"])

    def op_counts(self) -> Counter[tuple[str, str]]:
        return Counter((provider, op_type) for provider, _, op_type in self.nodes)

    def named(self) -> dict[str, str]:
        """Provider by node name, for the names that one node has alone."""
        names = Counter(name for _, name, _ in self.nodes)
        return {name: provider for provider, name, _ in self.nodes if name and names[name] == 1}


class Oracle:
    """Plans model files in a child process. Raises StubError where there is no cc or no CUDA provider."""

    def __init__(self) -> None:
        stubs = str(stub_libraries.build())
        # first, so that a real CUDA is not found
        path = os.pathsep.join(filter(None, [stubs, os.environ.get("LD_LIBRARY_PATH")]))
        self._environment = os.environ | {"LD_LIBRARY_PATH": path, "CUDA_VISIBLE_DEVICES": ""}
        self._child: subprocess.Popen[str] | None = None

    def plan(self, model: Path, level: str = "basic") -> RuntimePlan:
        """The runtime's plan of a model file at optimisation level `basic` or `all`."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(json.dumps({"model": str(model), "level": level}) + "\n")
        child.stdin.flush()
        line = child.stdout.readline()
        if not line:
            self._child = None
            return RuntimePlan(error=f"the runtime ended with exit status {child.wait()}")
        answer = json.loads(line)
        if "fatal" in answer:
            raise RuntimeError(answer["fatal"])
        return RuntimePlan.of(answer)

    def close(self) -> None:
        if self._child is not None:
            self._child.communicate()
            self._child = None

    def _running(self) -> subprocess.Popen[str]:
        if self._child is None:
            self._child = subprocess.Popen(
                [sys.executable, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env=self._environment,
            )
        return self._child

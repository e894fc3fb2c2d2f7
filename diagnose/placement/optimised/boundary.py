"""The graph that ONNX Runtime partitions: model-local functions inlined and level-1 (basic) optimisations applied.

ONNX Runtime itself makes it, without a GPU and without the weights: `onnxruntime.ModelCompiler` writes the graph right
after partitioning on the CPU, before casts and copies go in. Placement looks at names, types, shapes and the values of
small constants only, so large weights are replaced by a hole in a sparse file of the right size (0.4 s and 80 MB
resident for a 1.6 GB model; 6 to 17 s and 3.1 GB with the weights).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import onnx_ir as ir

from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.children import CrashedError, RefusedError
from onnxfix.nouns.process.scratch import Scratch
from onnxfix.nouns.types.inlining import inline
from onnxfix.nouns.types.opening import optimised

from .compiler import shared
from .weightless import write_weightless

# ModelCompiler takes 1.6 s for a chain of 10,000 nodes, 3 s for 20,000 and more than 60 s for 50,000; transformers
# export 300 to 10,000.
LARGEST_GRAPH, TIMEOUT_S = 40_000, 60.0


@dataclass(frozen=True)
class Boundary:
    """`model` is the graph to plan; `error` is ONNX Runtime's message when it does not load the model, and then `model`
    is the file's own graph; `note` says what else makes the graph inexact."""

    model: ir.Model
    error: str = ""
    note: str = ""
    approximate: bool = False


class Pending:
    """A boundary graph in the making: ONNX Runtime works on it in its own process until `result` is asked for.

    Leave the block to clean up. The model must not change before it has been written out, which __enter__ does.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.count = sum(1 for _ in model.nodes())
        self._begun = self._asked = False
        self._found: Boundary | None = None

    def __enter__(self) -> Pending:
        if self.count <= LARGEST_GRAPH:
            self._folder = Scratch()
            self._source = self._folder.path / "model.onnx"
            self._result = self._source.with_name("boundary.onnx")
            write_weightless(self.model, self._source)
            shared().begin(self._source, self._result, self.model.custom_op_libraries)
            self._begun = True
        return self

    def __exit__(self, *error: object) -> None:
        if self._begun and not self._asked:  # an error in the block: take the answer, or the next graph gets it
            with contextlib.suppress(TimeoutError, CrashedError, RefusedError):
                shared().finish(TIMEOUT_S)
        if self._begun:
            self._folder.close()

    def result(self) -> Boundary:
        """The boundary graph, waited for the first time."""
        if self._found is None:
            self._found = self._finished()
        return self._found

    def _finished(self) -> Boundary:
        if not self._begun:
            return _approximate(self.model, f"{self.count:,} nodes are too many for ONNX Runtime's optimiser")
        self._asked = True
        try:
            shared().finish(TIMEOUT_S)
        except TimeoutError:
            return _approximate(self.model, f"ONNX Runtime's optimiser was stopped after {TIMEOUT_S:g} s")
        except CrashedError as error:
            return Boundary(_raw(self.model), error=f"the process that loads it {error}")
        except RefusedError as error:
            return Boundary(_raw(self.model), error=str(error))
        return Boundary(optimised.read(self._result))


def boundary(model: Model) -> Boundary:
    """The graph at the partition boundary of a session with basic optimisations."""
    with Pending(model) as pending:
        return pending.result()


def _approximate(model: Model, why: str) -> Boundary:
    from .approximate import approximate

    note = f"{why}; planned after an approximation of its basic optimisations"
    return Boundary(approximate(model), note=note, approximate=True)


def _raw(model: Model) -> ir.Model:
    """The file's own graph with what ONNX Runtime does on every load: Constant nodes become initializers."""
    from onnx_ir.passes import common

    copy = model.ir.clone()
    with contextlib.suppress(OnnxfixError):  # calls that cannot be inlined stay
        inline(copy)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(copy)
    return copy

"""Pass: one change to a graph with one purpose. A pass is a frozen dataclass; its options are its fields."""

from __future__ import annotations

import functools
from dataclasses import dataclass, is_dataclass
from typing import ClassVar, Protocol, cast, runtime_checkable

from onnxfix.nouns.change import Change
from onnxfix.nouns.errors import Sentence
from onnxfix.nouns.finding import Applicability
from onnxfix.nouns.model import Model
from onnxfix.nouns.process.discovery import classes_in

from .editor import Editor


class Step(Protocol):
    """What a recipe runs: a pass of ours, or a user's script."""

    @property
    def name(self) -> str: ...

    @property
    def applicability(self) -> Applicability: ...

    def apply(self, editor: Editor) -> None: ...


@runtime_checkable
class Pass(Protocol):
    """What every file in `surgery/passes` defines one of. The class docstring is printed by `onnxfix explain NAME`.

    `repairs` names the finding codes that fall silent after the pass. A numeric pass also has
    `measure(model) -> float`, the figure it is there to lower; the class docstring says what it is.
    """

    name: ClassVar[str]
    applicability: ClassVar[Applicability]
    repairs: ClassVar[tuple[str, ...]]

    def apply(self, editor: Editor) -> None:
        """Change the graph through the editor and nothing else."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What a pass did: its changes, and `notes` on what it left alone and why."""

    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()

    def then(self, later: Outcome) -> Outcome:
        """Both, in this order."""
        return Outcome((*self.changes, *later.changes), (*self.notes, *later.notes))

    def noted(self, *notes: str) -> Outcome:
        return self.then(Outcome((), notes))


def run(graph_pass: Step, model: Model) -> Outcome:
    """Apply a pass in place and return what it changed."""
    editor = Editor(model, graph_pass.name)
    graph_pass.apply(editor)
    return Outcome(tuple(editor.changes), tuple(map(Sentence, editor.notes)))


@functools.cache
def all_passes() -> dict[str, type[Pass]]:
    """Every pass class by name, found by walking the folder."""
    from . import passes

    candidates = (kind for kind in classes_in(passes) if is_dataclass(kind) and hasattr(kind, "applicability"))
    return {kind.name: kind for kind in (cast("type[Pass]", c) for c in candidates)}

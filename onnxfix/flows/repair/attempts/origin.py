"""Origin: what a repair goes on from, which is the model as it arrived, or what it had to be made first."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

from onnxfix.nouns.model import Model, tensors
from onnxfix.nouns.types.counts import plural
from onnxfix.nouns.types.inference import infer
from onnxfix.nouns.types.type_strings import elem_string
from onnxfix.surgery.graph_pass import Outcome
from onnxfix.surgery.passes.convert_to_half import HALVES
from onnxfix.surgery.passes.inline_functions import InlineFunctions
from onnxfix.surgery.passes.lower_versions import LowerVersions
from onnxfix.surgery.recipe import Recipe
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites import random_numbers

from . import arrival


class Origin:
    """`model`: what attempts begin with; `steps` and `outcome`: how it was made of the one that arrived, `notes`: what
    is said of that. `file`: where each attempt is staged, under the name it will have."""

    def __init__(
        self,
        model: Model,
        wish: Wish,
        file: Path,
        progress: Callable[[str], None],
        checkpoint: Path | None = None,
        runs: bool = False,
    ) -> None:
        self.model = self.source = model
        self.file, self.progress = file, progress
        self._checkpoint, self._precision = checkpoint, wish.precision
        self.notes: list[str] = []
        self.steps, self.outcome = Recipe(()), Outcome()
        self._load()
        self.inlined = Recipe((InlineFunctions(),)).apply(self.model)[0] if self.model.ir.functions else self.model
        types = infer(self.inlined.ir)
        self.halves = arrival.halves_of(self.inlined, types)
        why = arrival.reason_to_widen(self.inlined, wish, self.halves, types, runs)
        if why:
            self.widen(why)

    @property
    def arithmetic(self) -> bool:
        """Whether the model still computes in half precision of its own."""
        return bool(self.halves) and self.model is self.source

    def widen(self, why: str) -> None:
        """Go on from the model's own numbers in fp32, which the result is then compared with."""
        steps = arrival.widening(self._checkpoint)
        self.model, outcome = self._fp32(steps, "widened")
        weights = (tensor for tensor in tensors(self.source.ir) if tensor.size > 1)
        rounded = sum(1 for tensor in weights if elem_string(tensor.dtype) in self.halves)
        lost = f", exactly; what rounding took of {plural(rounded, 'weight')} cannot be brought back" if rounded else ""
        anew = " and converted anew, compared with its own weights in fp32" if self._precision in HALVES else lost
        self.notes.append(f"arrived with {why}: made fp32{anew}")
        self.steps, self.outcome = Recipe((*self.steps.passes, *steps.passes)), self.outcome.then(outcome)

    def _load(self) -> None:
        """Go on from the model as the runtime takes it, which the result is then compared with."""
        found = arrival.loadable(self.model)
        if found is None:
            return
        self.steps, made, self.outcome = found
        file = self.file.with_name(f"loadable-{self.file.name}")
        self.model = self.source = Model.open(made.save(file), self.model.custom_op_libraries)
        renamed = [change.detail for change in self.outcome.changes if change.verb == "rename"]
        if renamed:
            more = f" and {len(renamed) - 3} more" if len(renamed) > 3 else ""
            self.notes.append(f"arrived with nodes of one name: {', '.join(renamed[:3])}{more}, compared with that")
        if any(isinstance(step, LowerVersions) for step in self.steps.passes):
            said = ", ".join(change.detail for change in self.outcome.changes if change.verb == "lower")
            self.notes.append(f"arrived newer than this ONNX Runtime: {said or 'converted'}, compared with that")

    def _fp32(self, steps: Recipe, called: str) -> tuple[Model, Outcome]:
        wide, outcome = steps.apply(self.source, self.progress)
        file = wide.write(self.file.with_name(f"{called}-{self.file.name}"))
        return Model.open(file, self.source.custom_op_libraries), outcome

    @functools.cached_property
    def meant(self) -> Model:
        """What results are compared with: the model or, where it has values in half precision, its own numbers in fp32.

        Half arithmetic of its own can be wrong (squares beyond 65,504), and the CPU provider has no kernels for all of
        bfloat16.
        """
        if self.arithmetic:
            return self._fp32(arrival.exact_widening(), "meant")[0]
        if self.model is self.source and random_numbers.drawing(self.inlined):
            return self.inlined  # what draws has other names in a function's body
        return self.model

"""A result for another runtime than ONNX Runtime, run by that one: it may compute an operator in another way, or not at
all, where ONNX Runtime's own answer is right."""

from __future__ import annotations

from onnxfix.nouns.comparison import Comparison
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.model import Model
from onnxfix.nouns.runtime.provider import Provider, resolved

from .check import OF_ANOTHER_ORDER
from .verdict import require
from .verification import Verification


class NotTakenError(OnnxfixError):
    """A result that its target's own runtime does not take; it may take less of a recipe."""


def verified(result: Model, provider: Provider, held: Verification) -> tuple[Comparison | None, str]:
    """A result held against the source's answers in its provider's own runtime, and how in words: both empty for a
    provider of ONNX Runtime, the first for a runtime that is not here. Raises OnnxfixError where it answers otherwise.

    The limit is that of a result whose sums are of another order, as every other runtime's are.
    """
    from onnxfix.eval.numerics.compare import compare
    from onnxfix.eval.run.runners import LoadFailure, RunFailure

    if not provider.runner:
        return None, ""
    if (missing := provider.unmeasurable()) is not None:
        return None, f"; not run in {provider.label}: {missing[0]}, {missing[1]}"
    held.progress(f"verify in {provider.label}")
    try:
        runner = resolved(provider.runner)(result.path, threads=1)
        how = f"{provider.label} on the CPU"
        comparison = compare(held.reference, runner, held.feeds, how=how, valid_only=not held.check.padding)
        runner.close()
    except (LoadFailure, RunFailure) as error:
        others = f"give another {arg('target')} or {arg('recipe')}, or use {arg('verify', False)}"
        raise NotTakenError(f"{error}", f"nothing was written; {others}") from error
    require(held, comparison, result, max(held.check.limit, OF_ANOTHER_ORDER))
    return comparison, f" and in {provider.label}"

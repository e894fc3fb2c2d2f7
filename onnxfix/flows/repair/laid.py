"""Results that go into a library's folder: which checkpoint's files go beside them, and what they are called there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.nouns.errors import OnnxfixError, arg

if TYPE_CHECKING:
    from onnxfix.export.layouts.laid import Laid
    from onnxfix.export.layouts.layout import Name
    from onnxfix.flows.source import Source
    from onnxfix.surgery.recipes import Wish


def laid(
    layout: Name | None,
    folder: Path | None,
    checkpoint: Path | None,
    source: Source,
    wish: Wish,
    recipe: str,
    force: bool,
) -> Laid | None:
    """The folder that a result goes into, None where no layout is asked for. Raises OnnxfixError, before any work, for
    what the library would not load."""
    if layout is None:
        return None
    from onnxfix.export.layouts import sidecars
    from onnxfix.export.layouts.laid import Laid
    from onnxfix.export.layouts.made import Made
    from onnxfix.nouns.model import Model
    from onnxfix.nouns.provenance import Provenance

    if folder is None:
        raise OnnxfixError(f"{arg('layout', layout)} makes a folder", f"name it, as in {arg('output', 'served')}")
    model = Model.open(source.path)
    recorded = Provenance.read(model.ir)
    if checkpoint is None:
        checkpoint = sidecars.checkpoint_beside(source.path, recorded.checkpoint if recorded else "")
    made = Made(wish.precision, wish.int8, wish.bits, recipe, wish.half.io_types == "half")
    found = Laid.of(layout, folder, checkpoint, made, force)
    found.check(*([str(value.name) for value in values] for values in (model.graph.outputs, model.graph.inputs)))
    return found

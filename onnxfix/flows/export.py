"""An export as asked for by keywords: of a checkpoint's folder, a function that makes a module, or a module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from onnxfix.export.layouts.layout import Name
from onnxfix.export.spec import DEFAULT_OPSET, Attention, Exporter, ExportResult, ExportSpec, Task
from onnxfix.nouns.errors import OnnxfixError, Sentence, arg
from onnxfix.render.shown import Shown, Summary

from .outputs import keep_inputs, path_of
from .values import one_of

if TYPE_CHECKING:
    import torch

    from onnxfix.export.layouts.laid import Laid
    from onnxfix.nouns.process.progress import Advance

SCHEMA = "onnxfix.export/1"


@dataclass(frozen=True, repr=False)
class Exported(ExportResult, Shown):
    """A written export that can be shown; `source` is what it was made of."""

    source: str = ""
    laid: Laid | None = None
    """The library's folder that it lies in; None for a file alone."""

    def __repr__(self) -> str:
        return f"<Exported {self.path} by {self.exporter}: {self.verified}>"

    def as_dict(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "source": self.source, **super().as_dict(), "layout": self._layout()}

    def _layout(self) -> dict[str, Any] | None:
        if self.laid is None:
            return None
        folder = {"name": self.laid.name, "folder": str(self.laid.folder), "files": sorted(self.laid.files())}
        return {**folder, "load": self.loads}

    @property
    def loads(self) -> str:
        """The expression that loads the folder, empty for a file alone."""
        return self.laid.loads(self.outputs, self.inputs) if self.laid is not None else ""

    @property
    def verified(self) -> str:
        """How it was compared with torch, in words."""
        if self.comparison is None:
            return Sentence(f"no ({arg('verify', False)})")
        feeds = list(dict.fromkeys(d.feed for d in self.comparison.differences))
        figure = f"relative L2 error {self.comparison.rel_l2:.1e}"
        return f"against torch on {len(feeds)} batches ({', '.join(feeds)}): {figure}"

    def lines(self) -> list[tuple[str, str]]:
        """What there is to say, a label and a sentence each."""
        return [
            ("exported", f"{self.source} to {self.path}"),
            ("exporter", f"{self.exporter}, opset {self.opset}, {self.nodes:,} nodes"),
            ("interface", f"{', '.join(self.inputs)} → {', '.join(self.outputs)}"),
            *(("note", note) for note in self.notes),
            ("verified", self.verified),
            ("size", f"{self.file_bytes / 1e6:,.1f} MB"),
            *([("beside", ", ".join(sorted(self.laid.files()))), ("load", self.loads)] if self.laid else []),
            ("next", f"onnxfix diagnose {self.path}"),
        ]

    def in_short(self) -> Summary:
        return Summary.of(str(self.path), ("", "what"), self.lines())


def export(
    model: str | Path | torch.nn.Module | None = None,
    *,
    example: Mapping[str, torch.Tensor] | None = None,
    output: str | Path = "model.onnx",
    exporter: Exporter = "auto",
    optimize: bool = True,
    opset: int = DEFAULT_OPSET,
    attn: Attention | None = None,
    task: Task | None = None,
    revision: str = "",
    layout: Name | None = None,
    factory: str = "",
    verify: bool = True,
    force: bool = False,
    progress: Advance = lambda step: None,
) -> Exported:
    """Export a checkpoint, a folder in transformers' format or one on the Hub (`org/name`), or a torch module, and
    verify the result against torch.

    `revision`: the branch, tag or commit of a checkpoint on the Hub. Its snapshot is taken from the cache of
    huggingface_hub, which is brought up to date where there is network. A folder of that name comes first.
    `layout`: `output` is a folder as a library loads it (`optimum`, `sentence-transformers`, `transformers.js`), with
    the checkpoint's config and tokenizer; it appears whole, and the graph of a sentence-transformers checkpoint is its
    transformer alone, as these libraries pool by themselves.

    `example`: inputs of the module by name, which it is traced with; token ids and a mask where there are none.
    `factory` (`module:function`): a function that returns a module, or (module, example); it gets the checkpoint.

    `task` `text-generation-with-past`: a causal language model with its cache, as optimum names it: inputs
    `past_key_values.N.key` and `.value` of an axis `past`, outputs `present.N.key` and `.value` of `past + sequence`.

    The export has dynamic axes `batch` and `sequence` and is compared with torch on an unpadded, a padded and a
    long batch (1,024 tokens, or what the model takes), with a cache also on a prompt and on the tokens behind it; when
    they disagree nothing is written. Raises OnnxfixError.
    """
    from onnxfix.export import run

    one_of("exporter", exporter, Exporter)
    one_of("attn", attn, Literal["eager", "sdpa"])
    one_of("task", task, Literal["text-generation-with-past"])
    one_of("layout", layout, Name)
    folder = Path(model) if isinstance(model, str | Path) else None
    destination = path_of("output", output) or Path()
    spec = ExportSpec(folder, destination, factory, exporter, optimize, opset, attn or "", verify, force, task or "")
    if layout is None:
        spec.check(needs_source=model is None or folder is not None)  # before a download
    spec = _found(spec, revision, progress)
    if layout is not None:
        spec = _laid(spec, layout)
    else:
        keep_inputs({"output": destination}, {"checkpoint": spec.checkpoint})
    given, source = None, factory or spec.hub or str(folder)
    if model is not None and folder is None:
        from onnxfix.export.models.factory import of_module

        source = type(model).__name__
        whole = copy.deepcopy(model)  # it is put in eval mode and made fp32
        made = whole if example is None else (whole, _in_fp32(example))
        given = of_module(made, source, in_memory=True, task=spec.task)
    done = Exported(**vars(run.export(spec, progress, given)), source=source)
    return done if spec.laid is None else replace(done, laid=spec.laid)


def _found(spec: ExportSpec, revision: str, progress: Advance) -> ExportSpec:
    """With the snapshot of a checkpoint on the Hub in the place of its id. Raises OnnxfixError."""
    from onnxfix.export.hub.snapshot import HubId, folder_of

    wanted = HubId.of(spec.checkpoint, revision) if spec.checkpoint is not None else None
    if wanted is None:
        if revision and spec.checkpoint is None:
            raise OnnxfixError(f"{arg('revision', revision)} is of a checkpoint on the Hub", "leave it out")
        return spec
    folder = folder_of(wanted, progress=progress)
    return replace(spec, checkpoint=folder, hub=f"{wanted.name}@{folder.name}")  # a snapshot is called by its commit


def _laid(spec: ExportSpec, layout: Name) -> ExportSpec:
    from onnxfix.export.layouts.laid import Laid
    from onnxfix.export.layouts.made import Made

    if spec.checkpoint is None:
        raise OnnxfixError(
            f"{arg('layout', layout)} takes config and tokenizer of a checkpoint", "name one, also with a factory"
        )
    laid = Laid.of(layout, spec.output, spec.checkpoint, Made(), spec.overwrite)
    return replace(spec, output=laid.graph, laid=laid)


def _in_fp32(example: Any) -> Any:
    """Inputs in the type of the copy that is exported; anything else as it is, for whoever says what is wrong."""
    if not isinstance(example, Mapping):
        return example
    return {
        name: t.float() if hasattr(t, "is_floating_point") and t.is_floating_point() else t
        for name, t in example.items()
    }

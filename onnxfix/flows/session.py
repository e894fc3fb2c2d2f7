"""A session for a service: texts or rows of token ids in, outputs in their order, with little padding between."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from onnxfix.flows.source import on_disk
from onnxfix.flows.values import at_least, one_of, several
from onnxfix.nouns.errors import OnnxfixError

if TYPE_CHECKING:
    import numpy as np

    from onnxfix.eval.serve.outputs import Axes, Output
    from onnxfix.eval.serve.tokens import Padding
    from onnxfix.flows.source import ModelLike

    Run: TypeAlias = Callable[[Mapping[str, Any]], dict[str, Any]]
    Text: TypeAlias = str | tuple[str, str]
    Rows: TypeAlias = Sequence[Sequence[int]] | Sequence[np.ndarray[Any, Any]] | np.ndarray[Any, Any]

Providers: TypeAlias = Literal["cpu", "cuda"]
# Tokens of a batch where the caller names no number: of one thread, and of a device. What a batch computes should stay
# in a core's cache: 96 rows take a BERT of 2 × 768 2.3 s in batches of 512 tokens, 2.6 s in such of 1,024 and 3.2 s of
# 2,048 (one thread); the bundled model, 128 wide, takes the same for all of these and 1.7 times as long for 16,384.
THREAD_TOKENS, DEVICE_TOKENS = 512, 16384
DEVICE_MULTIPLE = 8  # lengths: of a device's matrix units, and fewer shapes to keep buffers for


class Session:
    """Runs a text model in ONNX Runtime on any number of texts, as a service wants it.

    Rows are sorted by length and cut into batches of at most `max_tokens` tokens, so that little padding is computed;
    results come back in the order given. An output of rows is one array, [rows, …]; one of tokens is a list of arrays,
    each as long as its row has tokens.

        session = onnxfix.Session("model.onnx", tokenizer="CHECKPOINT")
        session(["a text", "and another"])["logits"]
        session.run_tokens([[101, 7592, 102], [101, 102]])

    `model`: a path, an `onnx.ModelProto` or an `onnx_ir.Model` that takes token ids and, if it likes, a mask, segments
    and positions. `tokenizer`: a folder (read from there alone, no code of it is run), or a tokenizer of transformers
    or tokenizers; by default that of the checkpoint that the file was exported from. `max_tokens` counts padding, and
    real tokens alone where the model packs its tokens (`repair --pack-tokens`), which its graph shows and `packs`
    overrules, and where it is given none else (`--packed-inputs`, which a session makes itself); by default 512 a
    thread on the CPU and 16,384 on a device; a longer row runs alone. `max_length`: texts are cut to so many tokens;
    without it one that is too long for the model is an error. `outputs`: names of those wanted, by default all.
    `pad_to_multiple_of`: of lengths, by default 1 on the CPU and 8 on a device, where the buffers of a shape are kept.
    Packed tokens are filled up there to one of eight numbers between a power of two and the next.

    It may be called from several threads: runs on the CPU are then side by side, those on a device one by one. Closing
    it, or leaving its `with` block, frees the model. Raises OnnxfixError, also for a row that is empty or longer than
    the model has positions for, before anything is run.
    """

    def __init__(
        self,
        model: ModelLike,
        *,
        tokenizer: str | Path | Any = None,
        provider: Providers = "cpu",
        threads: int = 0,
        max_tokens: int | None = None,
        max_length: int | None = None,
        outputs: str | Sequence[str] = (),
        packs: bool | None = None,
        pad_to_multiple_of: int | None = None,
    ) -> None:
        from onnxfix.eval.run.machine import cores
        from onnxfix.eval.run.runners import OrtRunner
        from onnxfix.eval.serve import interface
        from onnxfix.eval.serve.batches import Budget
        from onnxfix.eval.serve.texts import padding_of, tokenizer_of
        from onnxfix.nouns.model import Model
        from onnxfix.nouns.runtime.provider import named

        one_of("provider", provider, Providers)
        at_least("threads", threads, 0, whole=True)
        for name, value in {
            "max_tokens": max_tokens, "max_length": max_length, "pad_to_multiple_of": pad_to_multiple_of,
        }.items():  # fmt: skip
            at_least(name, value, 1, whole=True)
        host = named(provider).is_host
        with on_disk(model) as source:
            opened = Model.open(source.path)
            self._interface = interface.read(opened)
            self._checkpoint, self._recorded = _checkpoint(opened), None
            self.name = str(source.shown)
            self._runner = OrtRunner(source.path, provider=provider, threads=threads, name=self.name)
        self.provider = provider
        self.output_names = _wanted(several(outputs), self._runner.output_names)
        self._runner.output_names = list(self.output_names)
        run = self._runner.run if host else self._bindings(named(provider).array_device)
        self._run = run if self._interface.packed is None else self._of_packed(run, not host)
        self._budget = Budget(
            max_tokens or (THREAD_TOKENS * (threads or cores()) if host else DEVICE_TOKENS),
            real=self._interface.packs if packs is None else packs,
            rows=self._interface.rows,
            length=self._interface.length,
            multiple=pad_to_multiple_of or (1 if host else DEVICE_MULTIPLE),
            alike=not self._interface.is_masked,
        )
        self._max_length, self._lock = max_length, threading.Lock()
        self._tokenizer = tokenizer_of(tokenizer) if tokenizer is not None else None
        self._padding = padding_of(self._tokenizer)
        self._axes = self._axes_of_outputs()

    def __call__(self, texts: Text | Sequence[Text]) -> dict[str, Output]:
        """Output name → outputs of the texts, in their order; of pairs of texts where tuples are given."""
        from onnxfix.eval.serve.texts import encoded, padding_of

        given: list[Any] = [texts] if isinstance(texts, str) else list(texts)
        if not given:
            return self.run_tokens([])
        with self._lock:  # what a tokenizer cuts at is a state of it
            tokenizer = self._its_tokenizer()
            columns = encoded(tokenizer, given, self._max_length)
        if "input_ids" in columns:  # whatever the model calls them
            columns.setdefault(self._interface.ids, columns["input_ids"])
        known = {name: rows for name, rows in columns.items() if name in self._interface.roles}
        return self._outputs(known, "texts", padding_of(tokenizer))

    def run_tokens(self, rows: Rows | Mapping[str, Rows]) -> dict[str, Output]:
        """The same of lists of token ids, or of such lists by input: masks, segments and positions are made where they
        are not given. They are padded as the tokenizer named does, from the right where none is."""
        columns = dict(rows) if isinstance(rows, Mapping) else {self._interface.ids: rows}
        return self._outputs(columns, "rows", self._padding)

    def close(self) -> None:
        """Free the model's memory; the session cannot run afterwards."""
        self._runner.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counted = "real tokens" if self._budget.real else "tokens"
        return f"<Session of {self.name} on {self.provider}: batches of {self._budget.tokens:,} {counted}>"

    def _outputs(self, columns: Mapping[str, Any], called: str, padding: Padding) -> dict[str, Output]:
        from onnxfix.eval.serve.batches import cut
        from onnxfix.eval.serve.outputs import Collected
        from onnxfix.eval.serve.tokens import checked, feed

        if self._runner.session is None:
            raise OnnxfixError(f"the session of {self.name} is closed", "open another")
        tokens = checked(columns, self._interface, called)
        if self._interface.packed is not None:
            padding = replace(padding, left=False)  # rows have no padding, and begin with their tokens
        found = Collected(self._axes, tokens.lengths, padding.left)
        for batch in cut(tokens.lengths, self._budget):
            given = feed(tokens, batch, self._interface, self._budget, padding)
            found.add(batch, self._run(given), given[self._interface.ids].shape)
        return found.outputs()

    def _axes_of_outputs(self) -> dict[str, Axes]:
        import numpy as np

        from onnxfix.eval.serve.outputs import axes_of
        from onnxfix.eval.serve.tokens import checked, feed

        def ask(rows: int, length: int) -> dict[str, Any]:
            tokens = checked({self._interface.ids: [[1] * length] * rows}, self._interface, "rows")
            return self._run(feed(tokens, np.arange(rows), self._interface, self._budget, self._padding))

        return axes_of(self.output_names, self._interface, ask)

    def _its_tokenizer(self) -> Any:
        """The one named, else that of the checkpoint."""
        from onnxfix.eval.serve.texts import tokenizer_of

        if self._tokenizer is None and self._recorded is None:
            self._recorded = tokenizer_of(self._checkpoint) if self._checkpoint is not None else None
        found = self._tokenizer if self._tokenizer is not None else self._recorded
        if found is None:
            raise OnnxfixError(
                "texts need a tokenizer", "name its folder with tokenizer=, or give token ids to run_tokens"
            )
        return found

    def _of_packed(self, run: Run, in_buckets: bool) -> Run:
        """How a model of packed tokens is run on a batch; `in_buckets`: filled up, so that shapes are known again."""
        from onnxfix.eval.run.packed_runner import Packer
        from onnxfix.eval.serve.buckets import filled

        packed = self._interface.packed
        assert packed is not None
        most = self._interface.most
        how: dict[str, Any] = {"filled": lambda real: filled(real, most)} if in_buckets else {}
        packer = Packer(packed, packed.mask, self.name, **how)
        return lambda feed: packer.run(feed, run)

    def _bindings(self, device: str) -> Any:
        from onnxfix.eval.serve.bindings import Bindings

        return Bindings(self._runner.session, self.output_names, device, self.name).run


def _checkpoint(model: Any) -> Path | None:
    """The folder that a file says it was exported from, where it is still there."""
    from onnxfix.nouns.provenance import Provenance

    with contextlib.suppress(OSError):
        recorded = Provenance.read(model.ir)
        if recorded is not None and recorded.checkpoint and Path(recorded.checkpoint).is_dir():
            return Path(recorded.checkpoint)
    return None


def _wanted(names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    unknown = next((name for name in names if name not in known), None)
    if unknown is not None:
        raise OnnxfixError(f"the model has no output '{unknown}'", f"its outputs are {', '.join(known)}")
    return tuple(names or known)

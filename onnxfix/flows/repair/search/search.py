"""Search: the few nodes to keep in fp32 for a limit, by converting and measuring; resumable, answered as flags."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from onnxfix.flows.repair.verification.metric import Metric, metric_error
from onnxfix.nouns.errors import OnnxfixError, arg
from onnxfix.nouns.site import label, scope_of

from .problems import problem

if TYPE_CHECKING:
    import onnx_ir as ir

    from onnxfix.flows.repair.verification.verification import Verification
    from onnxfix.nouns.model import Model
    from onnxfix.surgery.recipes import Wish

    from .bisection import Found

SCHEMA = "onnxfix.search/1"


@dataclass(frozen=True)
class Answer:
    """`nodes` to keep, by label, `scopes` of torch that lie wholly among them, `patterns` that say the same to repair:
    each a parameter and its value."""

    nodes: tuple[str, ...]
    scopes: tuple[str, ...]
    patterns: tuple[tuple[str, str], ...]
    error: float
    runs: int
    within: bool

    def as_dict(self) -> dict[str, object]:
        flags = [f"--{name.replace('_', '-')} '{pattern}'" for name, pattern in self.patterns]
        lists = {"nodes": list(self.nodes), "scopes": list(self.scopes), "flags": flags}
        return {**lists, "error": self.error, "runs": self.runs, "within": self.within}


@dataclass(frozen=True)
class SearchWish:
    """`limit`: the largest error by `metric`; `log`: the file that runs are written to, and resumed from."""

    limit: float
    metric: Metric
    log: Path


def search(model: Model, wish: Wish, held: Verification, asked: SearchWish, progress: Callable[[str], None]) -> Answer:
    """Find the nodes. Raises OnnxfixError when nothing helps, and for the log of another search."""
    from .bisection import Search

    progress("search: what may be kept")
    posed = problem(model, wish, held)
    nodes, kind = posed.nodes, "float" if wish.int8 else "fp32"
    log = _Log(asked.log, _digest(model, wish, held, asked.metric, nodes), len(nodes))

    def measure(kept: frozenset[int]) -> float:
        error = metric_error(posed.measured(kept), asked.metric)
        log.add(kept, error)
        progress(f"search, run {len(log.known)}: {len(kept)} of {len(nodes)} nodes in {kind}, error {error:.1e}")
        return error

    seeker = Search(measure, asked.limit, known=dict(log.known))
    guess = posed.guess(asked.limit)
    found = seeker.run(posed.groups) if posed.groups else seeker.shortest(len(nodes), guess)
    if len(found.kept) == len(nodes):
        raise OnnxfixError(
            f"only with every node in {kind} is the {asked.metric} error within {asked.limit:g}",
            f"raise {arg('max_error')}",
        )
    return _answer(found, nodes)


def _answer(found: Found, nodes: Sequence[ir.Node]) -> Answer:
    kept = {label(nodes[i]) for i in found.kept}
    scopes = _whole_scopes([(label(node), scope_of(node)) for node in nodes], kept)
    covered = {label(node) for node in nodes if any(_lies_in(scope_of(node), scope) for scope in scopes)}
    patterns = [("block_scope", _escaped(scope)) for scope in scopes]
    patterns += [("block_node", f"^{re.escape(name)}$") for name in sorted(kept - covered)]
    return Answer(tuple(sorted(kept)), tuple(scopes), tuple(patterns), found.error, found.runs, found.within)


def _whole_scopes(nodes: Sequence[tuple[str, str]], kept: set[str]) -> list[str]:
    """Torch modules all of whose nodes are kept, the outermost of each branch."""
    parents = {parent for _, scope in nodes for parent in _parents(scope)}
    whole = {p for p in parents if all(name in kept for name, scope in nodes if _lies_in(scope, p))}
    return sorted(p for p in whole if not any(q in whole for q in list(_parents(p))[1:]))


def _parents(scope: str) -> list[str]:
    parts = scope.split(".") if scope else []
    return [".".join(parts[:n]) for n in range(len(parts), 0, -1)]


def _lies_in(scope: str, parent: str) -> bool:
    return scope == parent or scope.startswith(parent + ".")


def _escaped(scope: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", scope) if any(c in scope for c in "*?[") else scope


def _digest(model: Model, wish: Wish, held: Verification, metric: Metric, nodes: Sequence[ir.Node]) -> str:
    """A digest of what a run's error depends on, and of the nodes that its numbers stand for, in their order."""
    int8 = (wish.int8, wish.bits, wish.block_size, wish.method, wish.migrate, wish.reduce_range, wish.heads, wish.fuse)
    asked = f"{model.path.resolve()} {model.file_bytes} {wish.target.provider} {wish.precision} {wish.half} {metric}"
    asked += f" packed {wish.bands} {wish.rows} {wish.max_seq}" if wish.pack else ""
    scripts = [(script.name, script.digest) for script in (*wish.scripts, *wish.scripts_last)]
    digest = hashlib.sha256(f"{asked} {int8 if wish.int8 else ''}{scripts or ''}".encode())
    digest.update("\n".join(label(node) for node in nodes).encode())
    for feed in (*held.feeds, *held.draws):
        for name, array in sorted(feed.arrays.items()):
            digest.update(f"{name} {array.shape} {array.dtype}".encode() + array.tobytes())
    return digest.hexdigest()


class _Log:
    """JSON lines: what is searched, then one run a line. `known` holds the runs of an earlier search of the same."""

    def __init__(self, path: Path, problem: str, nodes: int) -> None:
        self.path = path
        self.known: dict[frozenset[int], float] = {}
        header = {"schema": SCHEMA, "problem": problem, "nodes": nodes}
        if path.exists():
            self._read(header)
        else:
            self._append(header)

    def add(self, kept: frozenset[int], error: float) -> None:
        self.known[kept] = error
        self._append({"kept": _ranges(kept), "error": error if error < float("inf") else None})

    def _append(self, line: dict[str, object]) -> None:
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        except OSError as error:
            raise OnnxfixError(
                f"cannot write {self.path}: {error.strerror}", f"name another file with {arg('search_log')}"
            ) from error

    def _read(self, header: dict[str, object]) -> None:
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            first = json.loads(lines[0]) if lines else None
        except ValueError:
            first = None
        if first != header:
            raise OnnxfixError(
                f"{self.path} is of another search", f"remove it, or name another with {arg('search_log')}"
            )
        for text in lines[1:]:
            try:
                line = json.loads(text)
                self.known[_indices(line["kept"])] = float("inf") if line["error"] is None else float(line["error"])
            except (ValueError, KeyError, TypeError):  # a line that was cut off when the search was
                continue


def _ranges(kept: frozenset[int]) -> str:
    """{3, 4, 5, 9} → `3-5,9`."""
    parts: list[list[int]] = []
    for index in sorted(kept):
        if parts and parts[-1][1] == index - 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in parts)


def _indices(text: str) -> frozenset[int]:
    bounds = [part.partition("-") for part in text.split(",") if part]
    return frozenset(i for first, _, last in bounds for i in range(int(first), int(last or first) + 1))

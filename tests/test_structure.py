"""The shape of the code: import rules, rooms on disk, generated docs."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {name: ROOT / name for name in ("surgery", "diagnose", "export", "eval")}
FOLDERS |= {name: ROOT / "onnxfix" / name for name in ("nouns", "render", "flows", "cli")}
# Who may import what, from the ground to the roof. The top level is given: surgery, diagnose, eval and export stand
# beside onnxfix/ and yet on two of its rooms, so that each of those four imports upwards to nouns and render.
ALLOWED = {
    "nouns": {"nouns"},
    "render": {"render", "nouns"},
    "surgery": {"surgery", "nouns"},
    "diagnose": {"diagnose", "surgery.sites", "render", "nouns"},
    "eval": {"eval", "surgery.sites", "render", "nouns"},
    "export": {"export", "surgery", "eval", "nouns"},
    "flows": {"flows", "export", "eval", "diagnose", "surgery", "render", "nouns"},
    "door": {"flows", "api", "nouns", "surgery"},
    "cli": {"cli", "flows", "export", "eval", "diagnose", "surgery", "render", "nouns"},
}
LAYERS = ("nouns", "render", "surgery", "diagnose", "export", "eval", "flows", "api", "cli")
ROOM = 13
LARGER_ROOMS = {"surgery/passes": 99, "diagnose/rules": 99, "onnxfix/nouns": 16}
"""A file a rule and a pass; and the nouns, which all else is made of."""


def modules() -> Iterator[tuple[str, str, Path]]:
    """(layer, dotted module name, file) of every module of the package."""
    for path in sorted((ROOT / "onnxfix").glob("*.py")):
        yield "cli" if path.stem == "__main__" else "door", f"onnxfix.{path.stem}", path
    for layer, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = path.relative_to(folder).with_suffix("").parts
            yield layer, ".".join(["onnxfix", layer, *parts]), path


def imports(module: str, path: Path) -> Iterator[tuple[str, bool]]:
    """Absolute names of imported modules of ours, and whether the import stands at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = set(map(id, tree.body))
    package = module.split(".") if path.stem == "__init__" else module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield name, id(node) in top
            for alias in node.names:
                yield f"{name}.{alias.name}", id(node) in top


@pytest.mark.parametrize(("layer", "module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_imports_follow_the_layers(layer: str, module: str, path: Path) -> None:
    for name, _ in imports(module, path):
        inner = name.removeprefix("onnxfix.")
        if name.startswith("onnxfix.") and inner.split(".")[0] in LAYERS:
            allowed = any(inner == a or inner.startswith(a + ".") for a in ALLOWED[layer])
            # `from onnxfix.surgery import sites` also yields the bare package
            parent = any(a.startswith(inner + ".") for a in ALLOWED[layer])
            assert allowed or parent, f"{module} may not import {name}"


def _of_types_alone(path: Path) -> set[str]:
    """Modules that a file imports below TYPE_CHECKING and nowhere else: none that runs imports them."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    checked = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typed = [n for block in checked for n in ast.walk(block) if isinstance(n, ast.Import)]
    run = [n for n in ast.walk(tree) if isinstance(n, ast.Import) and n not in typed]
    return {a.name for n in typed for a in n.names} - {a.name for n in run for a in n.names}


@pytest.mark.parametrize(("layer", "module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_torch_and_transformers_only_where_models_are_made_and_run(layer: str, module: str, path: Path) -> None:
    heavy = ("torch", "transformers", "sklearn", "tokenizers")
    for name, top in imports(module, path):
        if name.split(".")[0] in heavy and name not in _of_types_alone(path):
            assert layer in ("export", "eval"), f"{module} imports {name}"
            assert not top or "eval/demo" in path.as_posix(), f"{module} imports {name} outside a function"


@functools.cache
def graph() -> dict[str, frozenset[str]]:
    """Module → modules of ours that it imports when it is imported; a package counts as its __init__."""
    found = {module.removesuffix(".__init__"): (module, path) for _, module, path in modules()}
    return {
        name: frozenset(n for n, top in imports(module, path) if top and n in found and n != name)
        for name, (module, path) in found.items()
    }


def circles() -> list[list[str]]:
    """Sets of modules that import each other (Tarjan's strongly connected components of more than one)."""
    edges, order, low, stack, found = graph(), {}, {}, [], []

    def visit(node: str) -> None:
        order[node] = low[node] = len(order)
        stack.append(node)
        for other in edges[node]:
            if other not in order:
                visit(other)
            if other in stack:
                low[node] = min(low[node], low[other])
        if low[node] == order[node]:
            component = [stack.pop()]
            while component[-1] != node:
                component.append(stack.pop())
            found.append(component)

    for node in edges:
        if node not in order:
            visit(node)
    return [component for component in found if len(component) > 1]


def test_no_import_circle() -> None:
    assert circles() == []


def test_a_circle_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {"a": frozenset({"b"}), "b": frozenset({"c"}), "c": frozenset({"a"}), "d": frozenset({"a"})}
    monkeypatch.setattr(sys.modules[__name__], "graph", lambda: made)
    assert [sorted(found) for found in circles()] == [["a", "b", "c"]]


def test_no_room_is_crowded() -> None:
    folders = {path.parent for _, _, path in modules() if path.parent != ROOT / "onnxfix"}
    for folder in folders:
        name = folder.relative_to(ROOT).as_posix()
        entries = [p.name for p in folder.glob("*.py") if p.name != "__init__.py"]
        entries += [p.name for p in folder.iterdir() if (p / "__init__.py").is_file()]
        assert len(entries) <= LARGER_ROOMS.get(name, ROOM), f"{name} holds {len(entries)}: {sorted(entries)}"


def test_the_folders_beside_onnxfix_stand_on_its_ground() -> None:
    upwards = {
        (layer, name.split(".")[1])
        for layer, module, path in modules()
        for name, _ in imports(module, path)
        if layer in ("surgery", "diagnose", "eval", "export") and name.startswith("onnxfix.")
    }
    onnxfix = {(layer, room) for layer, room in upwards if (ROOT / "onnxfix" / room).is_dir()}
    assert {layer for layer, _ in onnxfix} == {"surgery", "diagnose", "eval", "export"}
    assert {room for _, room in onnxfix} == {"nouns", "render"}


@pytest.mark.parametrize(("layer", "module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_nothing_below_the_command_line_knows_it(layer: str, module: str, path: Path) -> None:
    if layer == "cli":
        return
    assert all(name.split(".")[0] != "click" for name, _ in imports(module, path)), f"{module} imports click"
    strings = (n.value for n in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(n, ast.Constant))
    assert not any(isinstance(text, str) and "onnxfix.cli" in text for text in strings), f"{module} names onnxfix.cli"


def below_cli() -> Iterator[tuple[str, ast.Module]]:
    """(dotted module name, its source) of every module that a command and Python share."""
    for layer, module, path in modules():
        if layer != "cli":
            yield module, ast.parse(path.read_text(encoding="utf-8"))


def test_nothing_below_the_command_line_speaks_of_flags() -> None:
    """Whoever called from Python has none: `arg` names parameters. A whole `onnxfix …` line is for both, as are reports
    and what rules advise; a string that is a flag and nothing else is an argument of such a line."""
    said = []
    for module, tree in below_cli():
        if module.startswith(("onnxfix.diagnose.rules", "onnxfix.diagnose.report", "onnxfix.render")):
            continue
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        strings = (n for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))
        said += [(module, n.value) for n in strings if " " in n.value and id(n) not in docstrings]
    assert len(said) > 1000
    flag = re.compile(r"(?<![\w(])(--[a-z]|-o\b)")
    assert [each for each in said if flag.search(re.sub(r"onnxfix .*", "", each[1]))] == []


def test_every_folder_of_modules_is_a_package() -> None:
    """setup.py finds packages, and passes over a folder without an __init__.py."""
    folders = {path.parent for _, _, path in modules()}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_generated_docs_are_fresh() -> None:
    import documentation

    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == documentation.rules_page(), "run 'make docs'"
    assert (ROOT / "docs" / "passes.md").read_text(encoding="utf-8") == documentation.passes_page(), "run 'make docs'"
    kernels = (ROOT / "docs" / "attention-kernels.md").read_text(encoding="utf-8")
    assert kernels == documentation.kernels_page(), "run 'make docs'"


def test_help_imports_nothing_heavy() -> None:
    """Under half a second is the promise; what breaks it is an import, which a noisy machine cannot hide."""
    code = "import sys; from onnxfix.cli.main import cli; cli.main(['--help'], standalone_mode=False); " + (
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'polars', 'transformers', 'rich', 'onnx_ir'}; "
        "heavy.add('onnx_graphsurgeon'); "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

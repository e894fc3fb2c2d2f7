"""The shape of the code: import rules, packages on disk, generated docs, what a wheel holds."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"surgery": ROOT / "surgery", "diagnose": ROOT / "diagnose", "export": ROOT / "export", "eval": ROOT / "eval"}
FOLDERS |= {name: ROOT / "onnxfix" / name for name in ("cli", "flows", "render", "nouns")}
# Who may import what beside the nouns.
ALLOWED = {
    "nouns": {"nouns"},
    "surgery": {"surgery"},
    "diagnose": {"diagnose", "surgery.sites", "render"},
    "eval": {"eval", "surgery.sites", "render"},
    "export": {"export", "surgery", "eval"},
    "render": {"render"},
    "flows": {"flows", "render", "surgery", "diagnose", "export", "eval"},
    "cli": {"cli", "flows", "render", "surgery", "diagnose", "export", "eval"},
}
LAYERS = ("surgery", "diagnose", "export", "eval", "render", "cli", "flows")


def modules() -> Iterator[tuple[str, str, Path]]:
    """(layer, dotted module name, file) of every module of the package."""
    for path in sorted((ROOT / "onnxfix").glob("*.py")):
        yield "cli" if path.stem == "__main__" else "nouns", f"onnxfix.{path.stem}", path
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


@pytest.mark.parametrize(("layer", "module", "path"), list(modules()), ids=lambda x: x if isinstance(x, str) else "")
def test_torch_and_transformers_only_where_models_are_made_and_run(layer: str, module: str, path: Path) -> None:
    heavy = ("torch", "transformers", "sklearn", "tokenizers")
    for name, top in imports(module, path):
        if name.split(".")[0] in heavy:
            assert layer in ("export", "eval"), f"{module} imports {name}"
            assert not top or "eval/demo" in path.as_posix(), f"{module} imports {name} outside a function"


def test_every_folder_of_modules_is_a_package() -> None:
    """setup.py finds packages, and passes over a folder without an __init__.py."""
    folders = {path.parent for _, _, path in modules()}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_generated_docs_are_fresh() -> None:
    import documentation

    assert (ROOT / "docs" / "rules.md").read_text(encoding="utf-8") == documentation.rules_page(), "run 'make docs'"
    assert (ROOT / "docs" / "passes.md").read_text(encoding="utf-8") == documentation.passes_page(), "run 'make docs'"


def test_a_wheel_installs_one_package_with_its_data(tmp_path: Path) -> None:
    # from a copy: setuptools leaves a build/ folder behind and would pack what an earlier one left
    source = tmp_path / "source"
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".git", ".venv", "build", "*.egg-info", "onnxfix-demo"))
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-q",
            "-w",
            str(tmp_path),
            str(source),
        ],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {n.split("/")[0] for n in names if ".dist-info" not in n} == {"onnxfix"}
    ours = {module.replace(".", "/") for _, module, _ in modules()}
    assert ours <= {n.removesuffix(".py") for n in names}
    for wanted in ("surgery/editor.py", "diagnose/run.py", "export/run.py", "eval/demo/holdout.parquet", "py.typed"):
        assert f"onnxfix/{wanted}" in names
    assert {f"onnxfix/render/page.{kind}" for kind in ("css", "js")} <= set(names)
    assert any(n.startswith("onnxfix/kernel_tables/") and n.endswith(".json.xz") for n in names)


def test_help_imports_nothing_heavy() -> None:
    """Under half a second is the promise; what breaks it is an import, which a noisy machine cannot hide."""
    code = "import sys; from onnxfix.cli.main import cli; cli.main(['--help'], standalone_mode=False); " + (
        "heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'polars', 'transformers', 'rich', 'onnx_ir'}; "
        "heavy.add('onnx_graphsurgeon'); "
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)

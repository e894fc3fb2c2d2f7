"""Checkpoints by their ids on the Hub: out of the cache, from a server that speaks as the Hub does, and refused."""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from hub_cache import Cached
from huggingface_hub import constants

import onnxfix
from onnxfix.export.hub.snapshot import HubId, folder_of
from onnxfix.export.models.checkpoint import Checkpoint
from onnxfix.flows.export import export
from onnxfix.flows.inputs import checkpoint_of
from onnxfix.nouns.errors import OnnxfixError
from onnxfix.nouns.model import Model
from onnxfix.nouns.provenance import Provenance

SIZES = {"vocab_size": 40, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}


@dataclass
class Hub:
    """`one` in a single file on main, `shards` in several on a branch; `pickled` has none but a pickle."""

    cache: Path
    models: Path
    one: str
    shards: str


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Hub:
    root = tmp_path_factory.mktemp("hub")
    models = root / "models"
    torch.manual_seed(0)
    module = transformers.BertForSequenceClassification(transformers.BertConfig(**SIZES, max_position_embeddings=64))
    module.save_pretrained(models / "one")
    module.save_pretrained(models / "shards", max_shard_size="8KB")
    assert len(list((models / "shards").glob("model-*-of-*.safetensors"))) > 1
    (models / "pickled").mkdir()
    shutil.copy(models / "one" / "config.json", models / "pickled")
    torch.save(module.state_dict(), models / "pickled" / "pytorch_model.bin")
    cache = root / "home" / "hub"
    repository = Cached(cache, "org/tiny")
    one, shards = repository.commit(models / "one", "main"), repository.commit(models / "shards", "sharded")
    Cached(cache, "org/pickled").commit(models / "pickled", "main")
    return Hub(cache, models, one, shards)


@pytest.fixture
def hub(cached: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The cache, with no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cached.cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return cached


def test_an_id_is_told_from_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert HubId.of("org/tiny") == HubId("org/tiny", "main")
    assert HubId.of(Path("org/tiny"), "v2") == HubId("org/tiny", "v2")
    assert HubId.of("org/tiny@refs/pr/3") == HubId("org/tiny", "refs/pr/3")
    for path in ("tiny", "./org/tiny", "/org/tiny", "../org/tiny", "org/tiny/more", "org/"):
        assert HubId.of(path) is None, path
    (tmp_path / "org" / "tiny").mkdir(parents=True)
    assert HubId.of("org/tiny") is None, "a folder that is there comes first"


def test_revisions_by_branch_and_by_commit(hub: Hub) -> None:
    assert folder_of(HubId("org/tiny")).name == hub.one
    for revision in ("sharded", hub.shards):
        found = folder_of(HubId("org/tiny", revision))
        assert found.name == hub.shards
        assert len(Checkpoint.open(found).sha256()) == 64
    assert checkpoint_of(f"org/tiny@{hub.shards}") == checkpoint_of("org/tiny@sharded")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (HubId("org/other"), ["org/other is no folder here", "HF_HUB_OFFLINE is set", "hf download org/other"]),
        (
            HubId("org/tiny", "v9"),
            ["revision v9 of org/tiny is not in the cache", "which has main, sharded", "as in org/tiny@main"],
        ),
        (HubId("org/pickled"), ["org/pickled has its weights only as pytorch_model.bin", "can run code"]),
    ],
)
def test_what_is_not_there_says_what_to_do(hub: Hub, wanted: HubId, said: list[str]) -> None:
    with pytest.raises(OnnxfixError) as raised:
        folder_of(wanted)
    line = str(raised.value)
    assert "\n" not in line
    assert all(part in line for part in said), line


def test_a_tokenizer_needs_no_weights(hub: Hub) -> None:
    assert (checkpoint_of("org/pickled") or Path()).name, "what reads config and tokenizer alone"


def test_a_shard_that_is_missing_is_named(hub: Hub, tmp_path: Path) -> None:
    torn = shutil.copytree(hub.models / "shards", tmp_path / "torn")
    shard = sorted(torn.glob("model-*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(OnnxfixError, match=f"lacks {shard.name}, one of"):
        Checkpoint.open(torn)


def test_an_export_of_shards_records_id_and_commit(hub: Hub, tmp_path: Path) -> None:
    done = export("org/tiny", revision="sharded", output=tmp_path / "model.onnx", exporter="legacy")
    assert done.source == f"org/tiny@{hub.shards}"
    assert done.comparison is not None
    assert done.comparison.rel_l2 < 1e-5
    recorded = Provenance.read(Model.open(done.path).ir)
    assert recorded is not None
    assert recorded.hub == done.source
    assert Path(recorded.checkpoint).name == hub.shards


def test_revisions_are_refused_where_there_are_none(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(OnnxfixError, match=r"is of a checkpoint on the Hub, and .* is a path"):
        export(hub.models / "one", revision="main", output=tmp_path / "model.onnx")
    with pytest.raises(OnnxfixError, match="name two revisions"):
        export("org/tiny@main", revision="sharded", output=tmp_path / "model.onnx")
    with pytest.raises(OnnxfixError, match="is no revision"):
        export("org/tiny", revision="../../secret", output=tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(OnnxfixError, match=r"huggingface-hub is not installed; pip install 'onnxfix\[torch\]'"):
        onnxfix.export("org/tiny", output=tmp_path / "model.onnx")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers as the Hub does: what a revision is, which files it has, and those files."""

    def __init__(self, files: dict[str, bytes], asked: list[str], *args: Any) -> None:
        self.files, self.asked = files, asked
        super().__init__(*args)

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, body: bool = True) -> None:
        commit, path = "c" * 40, self.path.partition("?")[0]
        name = path.partition(f"/resolve/{commit}/")[2]
        if path.startswith("/api/models/org/online/tree/"):
            tree = [{"type": "file", "path": n, "size": len(b), "oid": f"{len(b):040x}"} for n, b in self.files.items()]
            self._answer(json.dumps(tree).encode(), body)
        elif path.startswith("/api/models/org/online"):
            siblings = [{"rfilename": n} for n in self.files]
            self._answer(json.dumps({"id": "org/online", "sha": commit, "siblings": siblings}).encode(), body)
        elif name in self.files:
            self.asked.append(name)
            content = self.files[name]
            self._answer(content, body, {"ETag": f'"{len(content):040x}"', "X-Repo-Commit": commit})
        else:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _answer(self, content: bytes, body: bool, headers: dict[str, str] | None = None) -> None:
        self.send_response(200)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def online(cached: Hub) -> Iterator[tuple[str, list[str]]]:
    """A server's address, and the files that it was asked for."""
    files = {path.name: path.read_bytes() for path in (cached.models / "one").iterdir()}
    more = {"pytorch_model.bin", "modeling.py", "model.fp16.safetensors", "original/model.safetensors", "README.md"}
    files |= dict.fromkeys(more, b"not asked for") | {"vocab.txt": b"[PAD]\n[UNK]\n", "1_Pooling/config.json": b"{}"}
    asked: list[str] = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Server, files, asked))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **environment}, capture_output=True, text=True, timeout=100
    )


def test_only_the_files_that_are_needed_are_downloaded(online: tuple[str, list[str]], tmp_path: Path) -> None:
    address, asked = online
    code = "from onnxfix.export.hub.snapshot import HubId, folder_of; print(folder_of(HubId('org/online')))"
    where = {"HF_ENDPOINT": address, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    done = _python(code, **where)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {"config.json", "model.safetensors", "vocab.txt", "1_Pooling/config.json"} == set(asked)
    assert not done.stderr, "no bar but our own"
    again = _python(code, **where | {"HF_ENDPOINT": "http://127.0.0.1:9"})
    assert again.stdout == done.stdout, "the server is gone: the cache has it"
    missing = _python(code.replace("org/online", "org/nobody"), **where)
    assert "org/nobody is no folder here, and on the Hub it is not there or private" in missing.stderr


def test_the_command_takes_an_id(cached: Hub, tmp_path: Path) -> None:
    """HF_HOME is honoured, nothing is written, and it is one line."""
    environment = {**os.environ, "HF_HOME": str(cached.cache.parent), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "onnxfix", "export", "org/pickled", "-o", "model.onnx"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert done.stderr.startswith("onnxfix: error: org/pickled has its weights only as pytorch_model.bin")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())

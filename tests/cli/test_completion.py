"""Shell completion: what a shell is told after each beginning, by the installed command itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest


def completed(words: str) -> set[str]:
    given = {"_ONNXFIX_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    code = "import sys; sys.argv[0] = 'onnxfix'; from onnxfix.cli.main import main; sys.exit(main())"
    command = [sys.executable, "-P", "-c", code]
    told = subprocess.run(command, env=os.environ | given, capture_output=True, text=True)
    assert not told.stderr
    return set(told.stdout.split())


@pytest.mark.parametrize(
    ("words", "offered", "others"),
    [
        ("onnxfix dia", {"plain,diagnose"}, {"plain,repair"}),
        ("onnxfix diagnose --tar", {"plain,--target"}, {"plain,--format"}),
        ("onnxfix optimize --target c", {"plain,cuda", "plain,cpu"}, {"plain,openvino"}),
        ("onnxfix explain k00", {"plain,K001"}, {"plain,Q001"}),
        ("onnxfix explain convert-to-h", {"plain,convert-to-half"}, {"plain,K001"}),
        ("onnxfix diagnose mod", {"file,mod"}, set()),
    ],
)
def test_what_a_shell_is_offered(words: str, offered: set[str], others: set[str]) -> None:
    found = completed(words)
    assert offered <= found
    assert not others & found

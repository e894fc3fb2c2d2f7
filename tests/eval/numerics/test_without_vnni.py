"""The real runtime without VNNI, on CPUs whose cpuid instruction can fault, and the lines said on machines without."""

from __future__ import annotations

from pathlib import Path

import pytest
import without_vnni


@pytest.mark.parametrize("way", ["avx2", "avx512"])
def test_the_emulation_is_what_the_real_runtime_answers(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        command, environment = without_vnni.prefix(way, tmp_path)
        agreed = without_vnni.compare(tmp_path, command, environment)
    except without_vnni.MissingError as error:
        pytest.skip(str(error))
    said = capsys.readouterr().out
    assert agreed, said
    assert said.count("equal to the emulation") == 15 and "0.00 from x64quantprecision" not in said


@pytest.mark.parametrize(("way", "tool"), [("qemu", "qemu-x86_64"), ("avx2", "no C compiler")])
def test_says_in_one_line_what_is_missing(way: str, tool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(without_vnni.MissingError, match=tool):
        without_vnni.prefix(way, tmp_path)

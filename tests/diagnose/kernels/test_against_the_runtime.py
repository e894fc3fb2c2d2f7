"""kernel_choice against ONNX Runtime's own choice: every condition's row, settings, and cases by chance.

`python tests/diagnose/kernels/test_against_the_runtime.py 4000 7` compares 4,000 cases of seed 7.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from chooser import Chooser, RefusedError
from random_cases import RandomCases
from stub_libraries import StubError
from test_kernel_choice import ATTENTION, BROKEN, GQA, MHA, PACKED_MHA, PAGED, PLAIN, TAKEN, asked

from onnxfix.diagnose.kernels.cases import Case, Layout, Mask
from onnxfix.diagnose.kernels.choice import ARCHITECTURES, kernel_choice
from onnxfix.diagnose.kernels.settings import Settings
from onnxfix.nouns.runtime.attention_kernels import Kernel

ROWS = [
    *((key, key[1].value, TAKEN[key], {}) for key in TAKEN),
    *(((operator, kernel), needs, TAKEN[operator, kernel], change) for operator, kernel, needs, change, *_ in BROKEN),
]
RUNS = [row for row in ROWS if row[0][0] != PAGED]
"""PagedAttention is fed from outside: its blocks are not made up here."""


@pytest.fixture(scope="module")
def chooser() -> Iterator[Chooser]:
    try:
        found = Chooser()
    except StubError as error:
        pytest.skip(str(error))
    yield found
    found.close()


def told(case: Case, sm: int, settings: Settings | None = None) -> Kernel:
    """What kernel_choice says; a cache of grouped queries is bound in place."""
    choice = kernel_choice(case, sm, settings or Settings())
    first = choice.taken[0]
    assert not first.when or (first.kernel is Kernel.XQA and first.when == "past and present are bound to one buffer")
    return first.kernel


SIZES = {"heads": 4, "key_heads": 4, "size": 64, "value_size": 64}
ROWS_OF = {"queries": 50, "keys": 50, "square": True}
# What `optimize` makes for CUDA, at a length that is no multiple of anything.
FORMS: dict[str, tuple[dict[str, Any], Kernel]] = {
    "lengths of rows": ({**ROWS_OF, "lengths": True}, Kernel.FLASH),
    "lengths of rows, keys of a group": ({**ROWS_OF, "lengths": True, "key_heads": 2}, Kernel.FLASH),
    "causal, keys of a group": ({**ROWS_OF, "causal": True, "key_heads": 2}, Kernel.FLASH),
    "a block of a band": ({"queries": 64, "keys": 192, "square": False, "bias": True}, Kernel.MEMORY_EFFICIENT),
    "a bias over padded keys": ({"queries": 50, "keys": 56, "square": False, "bias": True}, Kernel.MEMORY_EFFICIENT),
    "a bias over keys as they are": ({**ROWS_OF, "bias": True}, Kernel.UNFUSED),
}


@pytest.mark.parametrize("element", ["fp16", "bf16"])
@pytest.mark.parametrize("form", FORMS)
def test_forms_of_recipes_get_these_kernels(chooser: Chooser, form: str, element: str) -> None:
    """On every GPU from sm 80 on, by the runtime itself; the last form is what they are there to avoid."""
    change, wanted = FORMS[form]
    case = Case("ai.onnx.Attention", element, **{**SIZES, **change})
    for sm in (sm for sm in ARCHITECTURES if sm >= 80):
        assert chooser.kernel(case, sm, Settings()) is wanted is told(case, sm)


@pytest.mark.parametrize(
    ("key", "needs", "sound", "change"), RUNS, ids=[f"{key[0].partition('.')[2]} {key[1]}: {n}" for key, n, *_ in RUNS]
)
def test_each_condition_is_the_runtimes(
    chooser: Chooser, key: tuple[str, Kernel], needs: str, sound: dict[str, Any], change: dict[str, Any]
) -> None:
    case, sm, settings = asked(key[0], sound, change)
    if case.element not in ("fp16", "fp32") and key[0] == PACKED_MHA:
        pytest.skip("the operator has no kernel in bf16")
    assert chooser.kernel(case, sm, settings) is told(case, sm, settings)


def test_cases_by_chance_take_what_the_runtime_takes(chooser: Chooser) -> None:
    different, seen = compared(chooser, 400, 3)
    assert different == []
    assert {kernel for _, kernel in seen} >= set(Kernel) - {Kernel.WRITTEN_OUT, Kernel.TRT_CROSS}
    assert sum(seen.values()) > 380


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32, 64, 1 + 4, 2 + 32 + 4, 1 + 2 + 8, 64 + 2])
def test_the_provider_option_is_read_as_the_runtime_reads_it(chooser: Chooser, bits: int) -> None:
    settings = Settings.of({}, bits)
    for operator in (MHA, ATTENTION, PACKED_MHA, GQA):
        layout = Layout.PACKED if operator == ATTENTION else Layout.SEPARATE
        for change in ({}, {"bias": operator != GQA}, {"queries": 64, "keys": 64}, {"mask": Mask.LENGTHS}):
            if "mask" in change and operator not in (MHA, ATTENTION):
                continue
            for sm in (75, 80, 90):
                case = Case(operator, **{**PLAIN, "layout": layout, **change})
                assert chooser.kernel(case, sm, Settings(), bits) is told(case, sm, settings), (operator, change, sm)


def test_every_architecture_chooses_as_told(chooser: Chooser) -> None:
    for sm in ARCHITECTURES:
        for element in ("fp16", "bf16", "fp32"):
            case = Case(MHA, **{**PLAIN, "element": element})
            assert chooser.kernel(case, sm, Settings()) is told(case, sm), (sm, element)


def compared(chooser: Chooser, count: int, seed: int) -> tuple[list[str], Counter[tuple[str, Kernel]]]:
    """Cases that differ, and how often each kernel of each operator was taken."""
    different, seen, cases = [], Counter[tuple[str, Kernel]](), RandomCases(seed)
    for _ in range(count):
        case, sm = cases.next()
        try:
            found = chooser.kernel(case, sm, Settings())
        except RefusedError:
            continue
        seen[case.operator, found] += 1
        if found is not told(case, sm):
            different.append(f"{found} and not {told(case, sm)} on sm {sm}: {case}")
    return different, seen


if __name__ == "__main__":
    runtime = Chooser()
    wrong, counted = compared(runtime, int(sys.argv[1]), int(sys.argv[2]))
    runtime.close()
    sys.stdout.write("\n".join([*wrong, f"{len(wrong)} of {sum(counted.values())} cases differ"]) + "\n")
    sys.exit(bool(wrong))

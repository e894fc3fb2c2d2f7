"""Each condition of each kernel: a case that the kernel takes, and the one change that makes it another's.

The rows are in conditions.tsv: operator, kernel, condition, the change that breaks this one alone, what is taken then,
and the reason against the kernel (none for a kernel that a case is not meant for, as those of decoding). That ONNX
Runtime takes the same stands in test_against_the_runtime.py.
"""

from __future__ import annotations

import csv
import mmap
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from onnxfix.diagnose.kernels.cases import Case, Layout, Mask
from onnxfix.diagnose.kernels.choice import ARCHITECTURES, kernel_choice, name_of
from onnxfix.diagnose.kernels.operators import OPERATORS
from onnxfix.diagnose.kernels.settings import Settings
from onnxfix.diagnose.kernels.sizes import TRT_LONG, TRT_SM
from onnxfix.nouns.runtime.attention_kernels import Kernel, KernelChoice
from onnxfix.nouns.runtime.kernels import KernelTable

MHA = "com.microsoft.MultiHeadAttention"
ATTENTION = "com.microsoft.Attention"
GQA = "com.microsoft.GroupQueryAttention"
PACKED_MHA = "com.microsoft.PackedMultiHeadAttention"
PACKED = "com.microsoft.PackedAttention"
PAGED = "com.microsoft.PagedAttention"
STANDARD = "ai.onnx.Attention"
PLAIN: dict[str, Any] = {
    "element": "fp16", "heads": 8, "key_heads": 8, "size": 64, "value_size": 64, "queries": 512, "keys": 512,
    "square": True,
}  # fmt: skip
SETTINGS = {field.name for field in fields(Settings)}

# What each kernel takes: changes of PLAIN.
TAKEN: dict[tuple[str, Kernel], dict[str, Any]] = {
    (MHA, Kernel.CUDNN): {"sm": 90},
    (MHA, Kernel.FLASH): {"sm": 80},
    (MHA, Kernel.TRT_CROSS): {"keys": 77, "square": False, "sm": 75},
    (MHA, Kernel.TRT): {"sm": 75},
    (MHA, Kernel.MEMORY_EFFICIENT): {"bias": True, "sm": 80},
    (ATTENTION, Kernel.CUDNN): {"layout": Layout.PACKED, "sm": 90},
    (ATTENTION, Kernel.FLASH): {"layout": Layout.PACKED, "queries": 1024, "keys": 1024, "sm": 80},
    (ATTENTION, Kernel.TRT): {"layout": Layout.PACKED, "sm": 80},
    (ATTENTION, Kernel.MEMORY_EFFICIENT): {"layout": Layout.PACKED, "bias": True, "sm": 80},
    (GQA, Kernel.XQA): {"past": True, "present": True, "queries": 1, "keys": None, "square": None,
                        "causal": True, "sm": 80},
    (GQA, Kernel.CUDNN): {"causal": True, "key_heads": 2, "sm": 90},
    (GQA, Kernel.FLASH): {"causal": True, "key_heads": 2, "sm": 80},
    (GQA, Kernel.MEMORY_EFFICIENT): {"causal": True, "sm": 75},
    (GQA, Kernel.UNFUSED): {"causal": True, "bias": True, "sm": 80},
    (PACKED_MHA, Kernel.FLASH): {"sm": 80},
    (PACKED_MHA, Kernel.TRT): {"sm": 75},
    (PACKED_MHA, Kernel.MEMORY_EFFICIENT): {"bias": True, "sm": 80},
    (PACKED, Kernel.TRT): {"layout": Layout.PACKED, "sm": 80},
    (PACKED, Kernel.MEMORY_EFFICIENT): {"layout": Layout.PACKED, "bias": True, "sm": 80},
    (PAGED, Kernel.FLASH): {"past": True, "sm": 80},
    (PAGED, Kernel.MEMORY_EFFICIENT): {"past": True, "sm": 75},
    (STANDARD, Kernel.CUDNN): {"lengths": True, "queries": 1, "square": False, "sm": 90},
    (STANDARD, Kernel.FLASH): {"sm": 80},
    (STANDARD, Kernel.MEMORY_EFFICIENT): {"bias": True, "sm": 80},
}  # fmt: skip


Row = tuple[str, Kernel, str, dict[str, Any], str, str]


def rows() -> Iterator[Row]:
    with (Path(__file__).parent / "conditions.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            change = dict(map(parsed, row["broken by"].split()))
            yield (
                row["operator"],
                Kernel(row["kernel"]),
                row["condition"],
                change,
                row["taken instead"],
                row["reason"],
            )


def parsed(text: str) -> tuple[str, Any]:
    """`mask=KEYS`, `queries=2`, `bias=yes`, `element=fp32`."""
    name, _, value = text.partition("=")
    forms = {"mask": Mask.__members__, "layout": Layout.__members__}.get(name, {"yes": True, "no": False})
    return name, int(value) if value.isdigit() else forms.get(value, value)


BROKEN = list(rows())


def asked(operator: str, *changes: dict[str, Any]) -> tuple[Case, int, Settings]:
    """PLAIN with changes of the case, of the architecture and of settings."""
    given = {name: value for change in changes for name, value in change.items()}
    settings = Settings(**{name: given.pop(name) for name in SETTINGS & set(given)})
    sm = given.pop("sm", 80)
    return Case(operator, **{**PLAIN, **given}), sm, settings


def choice(operator: str, *changes: dict[str, Any]) -> KernelChoice:
    return kernel_choice(*asked(operator, *changes))


@pytest.mark.parametrize(("operator", "kernel"), TAKEN)
def test_a_kernel_takes_what_meets_all_its_conditions(operator: str, kernel: Kernel) -> None:
    taken = choice(operator, TAKEN[operator, kernel]).taken
    assert taken[0].kernel is kernel
    if taken[0].when:  # decided by what is bound when the model runs
        assert kernel is Kernel.XQA and taken[0].when == "past and present are bound to one buffer"


@pytest.mark.parametrize(
    ("operator", "kernel", "needs", "change", "instead", "reason"), BROKEN,
    ids=[f"{row[0].partition('.')[2]} {row[1]}: {row[2]}" for row in BROKEN],
)  # fmt: skip
def test_without_one_condition_another_kernel_is_taken(
    operator: str, kernel: Kernel, needs: str, change: dict[str, Any], instead: str, reason: str
) -> None:
    found = choice(operator, TAKEN[operator, kernel], change)
    assert found.words() == instead
    against = [refused.reasons for refused in found.refused if refused.kernel is kernel]
    assert against == ([(reason,)] if reason else [])


def test_no_condition_is_without_its_row() -> None:
    stated = {
        (name_of(operator), tried.kernel, condition.needs)
        for operator in OPERATORS.values()
        for tried in operator.tried
        for condition in tried.conditions
    }
    bound = (GQA, Kernel.XQA, "past and present in one buffer")  # the file never tells
    assert stated == {row[:3] for row in BROKEN} | {bound} and len(BROKEN) == len(stated) - 1
    assert {row[:2] for row in BROKEN} == set(TAKEN)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bias": True}, "memory-efficient if the queries are a multiple of 8, else unfused"),
        ({"bias": True, "element": "fp32"},
         "memory-efficient if there are 256 tokens or more and the queries are a multiple of 16, else unfused"),
        ({"element": "fp32"}, "memory-efficient if there are 256 tokens or more, else unfused"),
        ({"sm": 75}, "TensorRT cross if there are 128 keys or fewer, else TensorRT"),
        ({"sm": 75, "size": 80, "value_size": 80}, "TensorRT if there are 385 tokens or more, else memory-efficient"),
        ({"sm": 75, "size": 80, "value_size": 80, "queries": 384, "keys": 384}, "memory-efficient"),
        ({"sm": 75, "trt_flash": False},
         "TensorRT cross if there are 128 keys or fewer, else TensorRT if there are 384 tokens or fewer, else "
         "memory-efficient"),
        ({"mask": Mask.OPEN},
         "TensorRT if the mask holds lengths [batch], else memory-efficient if the mask holds lengths and offsets "
         "[3 · batch + 2], else unfused"),
        ({"size": None, "value_size": None},
         "flash if the head size is a multiple of 8 up to 256, else TensorRT cross if the head size is up to 256 and "
         "there are 128 keys or fewer, else TensorRT if the head size is one of 16, 32, 40, 64, 80, 128, 160, 256, "
         "else memory-efficient if the head size is a multiple of 8 up to 1024, else unfused"),
    ],
)  # fmt: skip
def test_what_the_file_leaves_open_is_said_with_its_condition(change: dict[str, Any], words: str) -> None:
    assert choice(MHA, {"queries": None, "keys": None}, change).words() == words


def test_masks_by_lengths_go_to_cudnn_and_tensorrt_and_by_offsets_to_memory_efficient() -> None:
    lengths, offsets = {"mask": Mask.LENGTHS}, {"mask": Mask.OFFSETS}
    assert [choice(MHA, lengths, {"sm": sm}).words() for sm in (75, 80, 89, 90)] == ["TensorRT"] * 3 + ["cuDNN"]
    assert {choice(MHA, offsets, {"sm": sm}).words() for sm in ARCHITECTURES} == {"memory-efficient"}
    assert {choice(MHA, {"mask": m}).words() for m in (Mask.KEYS, Mask.SCORES, Mask.FOUR, Mask.ENDS)} == {"unfused"}


def test_lengths_of_the_standard_operator_keep_flash_and_its_mask_does_not() -> None:
    assert choice(STANDARD, {"lengths": True}).words() == "flash"
    assert choice(STANDARD, {"lengths": True, "element": "bf16"}).words() == "flash"
    assert choice(STANDARD, {"bias": True, "keys": None}).words() == (
        "memory-efficient if the keys are a multiple of 4, else unfused"
    )


def test_reasons_are_all_told_and_alike_ones_once() -> None:
    found = choice(MHA, {"mask": Mask.KEYS, "element": "fp32", "queries": 128, "keys": 128, "long_fp32": 0})
    assert found.why_not() == (
        "not flash, TensorRT cross or TensorRT: computes in fp32, has a mask [batch, keys]; not cuDNN: needs sm 90 or "
        "newer, computes in fp32, has a mask [batch, keys]; not memory-efficient: has a mask [batch, keys]"
    )
    assert found.as_dict()["taken"] == [{"kernel": "unfused", "when": "", "because": []}]
    assert choice(MHA).as_dict()["refused"] == []
    grouped = choice(GQA).as_dict()
    assert grouped["refused"] == [{"kernel": "cuDNN", "reasons": ["needs sm 90 or newer"]}]
    assert "no attention_bias" in choice(MHA).taken[0].because


def test_an_element_without_a_kernel_runs_nowhere_on_the_device() -> None:
    found = choice(GQA, {"element": "fp32"})
    assert found.kernel is Kernel.NONE and "GroupQueryAttention has no CUDA kernel in fp32" in found.why_not()


NAMES: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "ORT_DISABLE_FLASH_ATTENTION": ("flash", MHA, {}, "TensorRT"),
    "ORT_DISABLE_MEMORY_EFFICIENT_ATTENTION": ("efficient", MHA, {"bias": True}, "unfused"),
    "ORT_DISABLE_FUSED_ATTENTION": ("trt", ATTENTION, {"layout": Layout.PACKED}, "memory-efficient"),
    "ORT_DISABLE_TRT_FLASH_ATTENTION": ("trt_flash", PACKED_MHA, {"sm": 75}, "memory-efficient"),
    "ORT_DISABLE_FUSED_CROSS_ATTENTION": (
        "trt_cross",
        MHA,
        {"sm": 75, "keys": 77, "square": False},
        "memory-efficient",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_a_variable_disables_its_kernel(name: str) -> None:
    setting, operator, change, instead = NAMES[name]
    assert Settings.of({name: "1"}) == replace(Settings(), **{setting: False})
    assert Settings.of({name: "0"}) == Settings()
    sm = {"sm": change.get("sm", 80)}
    case = Case(operator, **{**PLAIN, **{k: v for k, v in change.items() if k != "sm"}})
    assert kernel_choice(case, **sm, settings=Settings.of({name: "1"})).words() == instead
    assert kernel_choice(case, **sm).words() != instead


def test_cudnn_is_taken_from_sm_90_on_by_itself_and_from_80_on_where_it_is_asked_for() -> None:
    wanted = {"cudnn": True}
    assert [choice(MHA, {"sm": sm}).words() for sm in (75, 80, 89, 90, 100, 120)] == [
        "TensorRT", "flash", "flash", "cuDNN", "cuDNN", "cuDNN"
    ]  # fmt: skip
    assert [choice(GQA, {"sm": sm}, wanted).words() for sm in (80, 90)] == ["cuDNN", "cuDNN"]
    # before Hopper MultiHeadAttention asks flash first
    assert [choice(MHA, {"sm": sm}, wanted).words() for sm in (75, 80, 90)] == ["TensorRT", "flash", "cuDNN"]
    assert choice(MHA, wanted, {"bias": True}).words() == "cuDNN"
    assert choice(MHA, {"sm": 90}, {"cudnn": False}).words() == "flash"
    assert Settings.of({"ORT_ENABLE_CUDNN_FLASH_ATTENTION": "1"}).cudnn is True
    assert Settings.of({"ORT_ENABLE_CUDNN_FLASH_ATTENTION": "0"}).cudnn is False
    assert Settings.of({}).cudnn is None


def test_the_provider_option_names_all_that_may_be_taken() -> None:
    only = {bit: Settings.of({"ORT_DISABLE_FLASH_ATTENTION": "1"}, bit) for bit in (1, 2, 8, 16)}
    assert only[1].flash and not only[1].efficient and only[1].cudnn is False
    assert (only[1].packed_flash, only[1].long_fp32) == (0, 0)
    case = Case(MHA, **PLAIN)
    assert {bit: kernel_choice(case, 90, settings).words() for bit, settings in only.items()} == {
        1: "flash", 2: "memory-efficient", 8: "cuDNN", 16: "unfused"
    }  # fmt: skip


def test_lengths_from_which_kernels_are_taken_are_settings() -> None:
    packed = Case(ATTENTION, **{**PLAIN, "layout": Layout.PACKED})
    early = Settings.of({"ORT_MIN_SEQ_LEN_FLASH_ATTENTION_PACKED_QKV": "128"})
    assert kernel_choice(packed).words() == "TensorRT" and kernel_choice(packed, settings=early).words() == "flash"
    short = Case(MHA, **{**PLAIN, "element": "fp32", "queries": 64, "keys": 64})
    early = Settings.of({"ORT_MIN_SEQ_LEN_EFFICIENT_ATTENTION_FP32": "64"})
    assert kernel_choice(short).words() == "unfused"
    assert kernel_choice(short, settings=early).words() == "memory-efficient"


def test_elements_are_those_of_the_kernel_table() -> None:
    table = KernelTable.load("1.31.1")
    names = {"tensor(float)": "fp32", "tensor(float16)": "fp16", "tensor(bfloat16)": "bf16"}
    for operator in OPERATORS.values():
        kernels = table.candidates("CUDAExecutionProvider", operator.name, operator.domain)
        variable = "T1" if operator.domain == "" else "T"
        found = {names[t] for kernel in kernels for t in kernel.types[variable] if t in names}
        assert found == set(operator.elements), operator.name


def test_head_sizes_of_tensorrt_are_those_in_the_binary() -> None:
    """What `fmha_v2_flash_attention_fp16_*` in the CUDA provider is compiled for; the names of variables, too."""
    onnxruntime = pytest.importorskip("onnxruntime")
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.exists():
        pytest.skip("needs the onnxruntime-gpu package")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as binary:
        kernels = set(re.findall(rb"fmha_v2_flash_attention_fp16_\d+_\d+_S_(\d+)_sm(\d+)_", binary))
        assert all(binary.find(name.encode()) >= 0 for name in NAMES)
    assert {int(size) for size, sm in kernels if int(sm) in TRT_SM} == set(TRT_LONG)
    assert {int(sm) for _, sm in kernels} == set(TRT_SM)

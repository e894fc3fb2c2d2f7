"""W002: tables in blocks that CUDA's kernel reads otherwise than the CPU's; its formula, written out, is the judge."""

import graphs
import numpy as np
import pytest

from onnxfix.diagnose.run import diagnose
from onnxfix.nouns.model import Model
from onnxfix.nouns.target import Target
from onnxfix.surgery import graph_pass
from onnxfix.surgery.passes.split_embedding_blocks import SplitEmbeddingBlocks

Array = graphs.Array
SITES = ["GatherBlockQuantized_x", "GatherBlockQuantized_z"]
IDS = np.array([0, 3, 1, 4, 2, 2])


def table(width: int, block: int, bits: int = 8, rows: int = 40, zeros: bool = True) -> dict[str, Array]:
    """Integers, scales and zero points, by what they are called in the graphs."""
    blocks, rng = -(-width // block), np.random.default_rng(width)
    found = {
        "data": rng.integers(0, 256, (rows, width * bits // 8)).astype(np.uint8),
        "scales": rng.uniform(0.01, 0.05, (rows, blocks)).astype(np.float32),
    }
    if zeros:
        found["zeros"] = rng.integers(0, 256, (rows, -(-blocks * bits // 8))).astype(np.uint8)
    return found


def lookup(width: int, block: int, bits: int = 8, zeros: bool = True, name: str = "x") -> Model:
    text = f"""g (int64[n] ids) => (float[n,{width}] {name}) {{
        {name} = com.microsoft.GatherBlockQuantized<bits = {bits}, block_size = {block}, gather_axis = 0,
            quantize_axis = 1>(data, ids, scales{", zeros" if zeros else ""})
    }}"""
    return graphs.model(text, table(width, block, bits, zeros=zeros))


def BAD() -> Model:
    """A row of one block that is longer than it, and rows of whole blocks without zero points."""
    wide = table(128, 32, zeros=False)
    return graphs.model(
        """g (int64[n] ids) => (float[n,96] x, float[n,128] z) {
        x = com.microsoft.GatherBlockQuantized<bits = 8, block_size = 128, gather_axis = 0, quantize_axis = 1>(
            data, ids, scales)
        z = com.microsoft.GatherBlockQuantized<bits = 8, block_size = 32, gather_axis = 0, quantize_axis = 1>(
            wide, ids, of_wide)
    }""",
        {**table(96, 128, zeros=False), "wide": wide["data"], "of_wide": wide["scales"]},
    )


def SOUND() -> Model:
    return lookup(96, 32)


def as_on_cuda(model: Model, ids: Array) -> Array:
    """What the kernel of ONNX Runtime 1.23 to 1.31 gives for the one table: the block is the flat index over the block
    size, and a zero point that is not there is 0."""
    node = next(n for n in model.nodes() if n.op_type == "GatherBlockQuantized")
    bits, block = (node.attributes[key].as_int() for key in ("bits", "block_size"))
    given = [v.const_value.numpy() if v is not None and v.const_value is not None else None for v in node.inputs]
    data, scales, zeros = given[0], given[2], given[3] if len(given) > 3 else None
    assert data is not None and scales is not None

    def unpacked(array: Array) -> Array:
        return np.stack([(array >> s) & ((1 << bits) - 1) for s in range(0, 8, bits)], axis=-1).reshape(len(array), -1)

    integers = unpacked(data).astype(np.int64)
    flat = np.arange(integers.size).reshape(integers.shape)[ids] // block
    shift = unpacked(zeros)[:, : scales.shape[1]].reshape(-1)[flat] if zeros is not None else 0
    made: Array = (integers[ids] - shift) * scales.reshape(-1)[flat]
    return made


@pytest.mark.parametrize(("width", "block"), [(96, 128), (576, 128), (960, 128), (48, 32), (16, 128)])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zeros", [True, False])
def test_a_repaired_table_has_the_same_numbers_under_both_formulas(
    width: int, block: int, bits: int, zeros: bool
) -> None:
    model = lookup(width, block, bits, zeros)
    wanted = graphs.run(model, {"ids": IDS})["x"]
    assert graphs.rel_l2(wanted, as_on_cuda(model, IDS)) > 0.1
    graph_pass.run(SplitEmbeddingBlocks(), model)
    assert np.array_equal(graphs.run(model, {"ids": IDS})["x"], wanted)
    assert np.allclose(as_on_cuda(model, IDS), wanted, rtol=1e-6, atol=1e-6)


def test_rows_that_no_block_divides_are_told_and_left() -> None:
    model = lookup(312, 128)
    (found,) = [f for f in diagnose(model, Target.resolve("cuda")).findings if f.code == "W002"]
    assert found.severity == "error" and found.applicability == "manual" and "312" in found.message
    assert not graph_pass.run(SplitEmbeddingBlocks(), model).changes


def test_the_cpu_reads_them_right() -> None:
    assert "W002" not in {f.code for f in diagnose(BAD(), Target.resolve("cpu")).findings}

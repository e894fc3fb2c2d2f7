"""What one operator over a cache is worth: `python benchmarks/decoder_steps.py [--rounds 30]`.

A Llama of random weights in the shape of SmolLM2-135M (hidden 576, 9 heads of 64, 3 of keys), of a few layers, exported
with its cache, and what is made of it for a CPU: rotations in one operator each, attention over the cache too (pass
fuse-grouped-query-attention), in fp32, and with linears in int8. A prompt of 128 tokens, and one token behind 512
others, all files in turns in one process, one thread; speeds are medians of ratios within a round. Ends with 0 when a
step is faster with GroupQueryAttention in either precision and a prompt no more than 5 % slower, else with 1.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
import transformers

import onnxfix
from onnxfix.eval.run.runners import OrtRunner
from onnxfix.nouns.model import Model
from onnxfix.surgery.passes.fuse_rotary_embedding import FuseRotaryEmbedding
from onnxfix.surgery.recipe import Recipe

SIZES = {"vocab_size": 4096, "hidden_size": 576, "intermediate_size": 1536, "num_attention_heads": 9}
GROUPED = {"num_key_value_heads": 3, "max_position_embeddings": 2048}
SLACK = 0.95
BEST = ("GroupQueryAttention", "int8, GroupQueryAttention")


def made(folder: Path, given: argparse.Namespace) -> dict[str, Path]:
    """Files by what is in them."""
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, **GROUPED, num_hidden_layers=given.layers)
    config._attn_implementation = given.attn
    files = {
        name: folder / f"{index}.onnx"
        for index, name in enumerate(("as exported", "rotations fused", BEST[0], "int8", BEST[1]))
    }
    onnxfix.export(
        transformers.LlamaForCausalLM(config), task="text-generation-with-past", exporter=given.exporter,
        output=files["as exported"],
    )  # fmt: skip
    source = files["as exported"]
    fused, _ = Recipe((FuseRotaryEmbedding(),)).apply(Model.open(source))
    fused.save(files["rotations fused"])
    onnxfix.optimize(source, output=files[BEST[0]])
    onnxfix.repair(source, int8="dynamic", target="cpu", output=files["int8"], max_error=1)
    onnxfix.optimize(source, int8="dynamic", output=files[BEST[1]], max_error=1)
    return files


def feed(path: Path, length: int, past: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = {
        "input_ids": rng.integers(0, SIZES["vocab_size"], (1, length)),
        "attention_mask": np.ones((1, past + length), np.int64),
        "position_ids": past + np.arange(length)[None],
    }
    for value in Model.look(path).graph.inputs:
        if value.name not in arrays and value.shape is not None:
            shape = (1, value.shape[1], past, value.shape[3])
            arrays[str(value.name)] = rng.standard_normal(shape).astype(np.float32)
    return arrays


def measured(files: dict[str, Path], length: int, past: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each round by name."""
    given = feed(files["as exported"], length, past)
    runners = {name: OrtRunner(path, threads=1) for name, path in files.items()}
    times: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(rounds + 1):
        for name, runner in runners.items():
            begun = time.perf_counter()
            runner.run(given)
            if turn:  # the first warms up
                times[name].append(1e3 * (time.perf_counter() - begun))
    for runner in runners.values():
        runner.close()
    return times


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--past", type=int, default=512)
    parser.add_argument("--prompt", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--exporter", choices=["dynamo", "legacy"], default="legacy")
    parser.add_argument("--attn", choices=["eager", "sdpa"], default="sdpa")
    given = parser.parse_args()
    met = True
    with tempfile.TemporaryDirectory() as folder:
        files = made(Path(folder), given)
        for length, past in ((given.prompt, 0), (1, given.past)):
            times = measured(files, length, past, given.rounds)
            sys.stdout.write(
                f"{length} token{'s' * (length > 1)} behind {past}{'':<14}  median   least  speed of the export\n"
            )
            speed = {name: median(np.divide(times["as exported"], each)) for name, each in times.items()}
            for name, each in times.items():
                sys.stdout.write(f"  {name:<28} {median(each):8.2f} {min(each):7.2f} {speed[name]:8.2f} x\n")
            least = SLACK if past == 0 else 1.0
            met &= all(
                speed[best] >= least * speed[other] for best, other in zip(BEST, ("as exported", "int8"), strict=True)
            )
    sys.stdout.write(f"faster with GroupQueryAttention: {'met' if met else 'missed'}; load {os.getloadavg()[0]:.1f}\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())

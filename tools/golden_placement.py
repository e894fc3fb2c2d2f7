"""Record the real runtime's plans of the placement tests' graphs in tests/golden/placement.json.

usage: python tools/golden_placement.py     with onnxruntime-gpu of the version to record, and cc
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parents[1] / "tests"


def main() -> None:
    sys.path[:0] = [str(TESTS), str(TESTS / "diagnose" / "placement")]
    import graphs
    import onnx
    import onnxruntime
    from oracle import golden
    from oracle.random_graphs import random_model
    from oracle.runtime import Oracle
    from test_placement import CASES

    models = {name: graphs.proto_of(case.model()) for name, case in CASES.items()}
    models |= {f"random {seed}": random_model(seed) for seed in golden.SEEDS}
    oracle, plans = Oracle(), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for name, model in models.items():
            onnx.save(model, path)
            plans[name] = oracle.plan(path)
            if plans[name].error:
                sys.exit(f"{name}: the runtime refuses it: {plans[name].error}")
    oracle.close()
    golden.write(onnxruntime.__version__, plans)
    sys.stdout.write(f"{golden.FILE}: {len(plans)} plans of ONNX Runtime {onnxruntime.__version__}\n")


if __name__ == "__main__":
    main()

"""A seeded tenth of the onnx package's node cases: none fails in diagnose or repair. All: `make corpus`."""

import random
import warnings
from collections import Counter

from corpus.cases import cases
from corpus.run import run

SEED, SHARE = 11, 10


def test_a_tenth_of_the_cases_passes_or_is_declined_in_words() -> None:
    every = cases()
    assert len(every) > 1500, "the package brings its cases otherwise now"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads: none runs yet
        done = run(random.Random(SEED).sample(every, len(every) // SHARE))
    failed = [f"{o.command} {o.case}: {o.reason}" for o in done if o.verdict == "FAILED"]
    assert not failed, "\n".join(failed)
    assert all(o.reason for o in done if o.verdict == "declined")
    counts = Counter((o.command, o.verdict) for o in done)
    assert min(counts[command, "passed"] for command in ("diagnose", "fp32", "fp16")) > len(every) // SHARE // 2

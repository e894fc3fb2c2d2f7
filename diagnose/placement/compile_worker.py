"""Compile one graph in a process of its own: started by `boundary` for graphs that may take for ever.

usage: python -m onnxfix.diagnose.placement.compile_worker SOURCE RESULT [CUSTOM_OP_LIBRARY...]; the runtime's message
stands on standard error when it refuses the model, and the exit code is 1.
"""

from __future__ import annotations

import sys
from pathlib import Path

from onnxfix.errors import one_line

from .boundary import compile_here


def main() -> int:
    source, result, *libraries = map(Path, sys.argv[1:])
    try:
        compile_here(source, result, tuple(libraries))
    except Exception as error:  # one class per status code, with no common base of their own
        sys.stderr.write(one_line(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

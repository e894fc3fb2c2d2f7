"""`python -m onnxfix` is `onnxfix`."""

from .cli.main import main

main()

"""`python -m onnxfix` is `onnxfix`."""

from onnxfix.cli.main import main

main()

"""The version of what is installed: that of the tag it was built from, vX.Y.Z, or one that names the commit."""

from __future__ import annotations

from importlib import metadata

try:
    __version__ = metadata.version("onnxfix")
except metadata.PackageNotFoundError:  # a source tree on the path that nobody installed
    __version__ = "0+unknown"

"""Q005: int8 weights whose products do not fit into the 16-bit sums of CPUs without VNNI."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from onnxfix.finding import Finding, Severity
from onnxfix.site import Site
from onnxfix.subject import Subject
from onnxfix.surgery.sites import integer_products, saturation

LIMIT = 0.1

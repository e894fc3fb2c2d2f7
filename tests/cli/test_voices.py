"""An error names what its reader has: flags on the command line, parameters in Python."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import click
import graphs
import numpy as np
import pytest
from onnxfix.cli import voice
from onnxfix.cli.main import COMMANDS
from onnxfix.diagnose.placement.measured.session import required
from onnxfix.eval.bench.bench import run_bench
from onnxfix.eval.bench.variant import Variant
from onnxfix.eval.inputs.workload import fixed_workload
from onnxfix.export.run import export
from onnxfix.export.spec import ExportSpec
from onnxfix.flows.bench.data import Wanted
from onnxfix.flows.bench.setup import setup
from onnxfix.flows.repair.repair import repair
from onnxfix.nouns.errors import OnnxfixError, Sentence, arg, one_line, spoken
from onnxfix.nouns.target import Target
from onnxfix.surgery.recipes import Wish
from onnxfix.surgery.sites.half.block_list import BlockList
from onnxfix.surgery.sites.half.half_plan import HalfOptions
from terminal import onnxfix

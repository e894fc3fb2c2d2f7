"""Bundled demo model: a small two-head ModernBERT classifier of Debian package descriptions, with its holdout."""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKPOINT = HERE / "checkpoint"
HOLDOUT = HERE / "holdout.parquet"
RECORD = HERE / "training.json"

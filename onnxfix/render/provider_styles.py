"""The providers' part of a style sheet, put where the sheet says `/* providers: light */` and the like."""

from __future__ import annotations

import re

from onnxfix.nouns.runtime.provider import providers

_FORMS = {
    "light": ("--{p}: {p.colours[0]};", " "),
    "dark": ("--{p}: {p.colours[1]};", " "),
    "cells": (".cell.{p} {{ background: var(--{p}); }}", "\n"),
    "runs": (".runs .{p} {{ fill: var(--{p}); }}", "\n"),
}


def filled(sheet: str) -> str:
    """The sheet with a variable or a rule for every provider in place of each such comment."""
    return re.sub(r"/\* providers: (\w+) \*/", lambda found: _rules(*_FORMS[found[1]]), sheet)


def _rules(form: str, between: str) -> str:
    # rules stand in the order of the legend, the host behind the others
    order = sorted(providers(), key=lambda each: each.is_host and between == "\n")
    return between.join(form.format(p=each) for each in order)

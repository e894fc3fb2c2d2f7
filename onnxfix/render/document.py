"""A whole page as one file: its style sheet and script inside, and a policy under which nothing else runs or loads."""

from __future__ import annotations

import base64
import hashlib
import inspect
import re
from collections.abc import Iterable
from functools import cache
from importlib import resources

from .markup import text
from .provider_styles import filled


def whole(title: str, styles: Iterable[str], body: Iterable[str], scripts: Iterable[str] = (), after: str = "") -> str:
    """`title` is plain text, `body` and `after` are HTML already; `styles` and `scripts` name files beside this one.

    `after` stands behind the main part, in front of the scripts, which are one block in their order. The policy allows
    it and the style sheet by their hashes.
    """
    style, code = "".join(filled(asset(name)) for name in styles), "".join(map(asset, scripts))
    allowed = f"script-src '{_digest(code)}'; " if code else ""
    policy = f"default-src 'none'; style-src '{_digest(style)}'; {allowed}base-uri 'none'"
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
            '<meta name="generator" content="onnxfix">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{text(title)}</title>\n<style>{style}</style>\n</head>\n<body>\n<main>",
            *(part for part in body if part),
            "</main>",
            after,
            f"<script>{code}</script>" if code else "",
            "</body>\n</html>\n",
        ]
    )


@cache
def asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def about(rule: type) -> str:
    """A rule's docstring as HTML: paragraphs, and names in backticks."""
    paragraphs = (text(part) for part in inspect.cleandoc(rule.__doc__ or "").split("\n\n") if part.strip())
    return "".join("<p>" + re.sub("`([^`]+)`", r"<code>\1</code>", part) + "</p>" for part in paragraphs)


def _digest(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()

"""Label a Debian package: its category (the field it serves) and its spec (what kind of package it is).

Both labels come from the packagers' own metadata (Section, debtags, naming policy), never from the text the model
reads. A package may carry only one of the two labels; such rows train that head alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable

from .debian import Package

# Section -> category. Absent are sections that name a kind of package rather than a field (libs, libdevel, debug,
# oldlibs, metapackages, ...) and those too mixed to be a field (devel, utils, misc, text, editors, ...). Networking
# and administration are one field: Debian files the same daemons under net, admin, web or httpd.
SECTIONS: dict[str, tuple[str, ...]] = {
    "compiled": ("haskell", "rust", "golang", "java", "ocaml", "cli-mono"),
    "desktop": ("x11", "gnome", "kde", "xfce", "gnustep", "fonts"),
    "games": ("games",),
    "infrastructure": ("net", "web", "mail", "httpd", "comm", "news", "admin", "kernel", "shells", "database"),
    "multimedia": ("sound", "graphics", "video"),
    "science": ("science", "math", "electronics", "hamradio"),
    "scripting": ("python", "perl", "ruby", "php", "javascript", "lisp", "gnu-r"),
}
CATEGORY_OF_SECTION = {section: category for category, sections in SECTIONS.items() for section in sections}
CATEGORIES = tuple(SECTIONS)

SPEC_OF_ROLE = {
    "program": "application",
    "devel-lib": "development",
    "documentation": "documentation",
    "shared-lib": "library",
}
SPECS = tuple(sorted(SPEC_OF_ROLE.values()))
HEADS: dict[str, tuple[str, ...]] = {"category": CATEGORIES, "spec": SPECS}

# Debian's naming policies for packages without role:: debtags (59% of the archive). The first match wins.
SPEC_OF_NAME: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("documentation", re.compile(r"-docs?$|-manual$")),
    ("development", re.compile(r"-dev$")),
    ("library", re.compile(r"^lib.*(-perl|-java|-ruby|-cil|\d)$|^(python3|ruby|node|php|libjs)-")),
)
# Sections whose untagged packages are programs, once data, plugins and the names above are excluded.
PROGRAM_SECTIONS = frozenset({"games", "net", "mail", "web", "utils", "admin", "science", "graphics", "sound", "video"})
NOT_A_PROGRAM = re.compile(
    r"^lib|-(data|common|plugins?|themes?|dbg|dbgsym|modules?|doc|dev|l10n|examples?)(-|$)|^task-"
)


def spec_of(package: Package) -> str | None:
    """The kind of package: its only debtags role, or, where it has no debtags, what its name says by policy."""
    if package.roles:
        specs = {SPEC_OF_ROLE.get(role) for role in package.roles}
        return specs.pop() if len(specs) == 1 else None
    for spec, name in SPEC_OF_NAME:
        if name.search(package.name):
            return spec
    if package.section in PROGRAM_SECTIONS and not NOT_A_PROGRAM.search(package.name):
        return "application"
    return None


def source_categories(packages: Iterable[Package]) -> dict[str, str]:
    """Source package -> the category of its binaries, where all that have a field agree on it."""
    votes: defaultdict[str, set[str]] = defaultdict(set)
    for package in packages:
        if package.section in CATEGORY_OF_SECTION:
            votes[package.source].add(CATEGORY_OF_SECTION[package.section])
    return {source: categories.pop() for source, categories in votes.items() if len(categories) == 1}


def category_of(package: Package, by_source: dict[str, str]) -> str | None:
    """The field of the package's own section; documentation packages take the field of their source package."""
    if package.section == "doc":
        return by_source.get(package.source)
    return CATEGORY_OF_SECTION.get(package.section)

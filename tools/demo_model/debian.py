"""Read Debian's package index through apt: one record per binary package, with its long description.

Needs `apt-get -o Acquire::Languages=en update` once, so that apt holds both the package lists and the English
long descriptions (`Translation-en`); nothing is downloaded here.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

APT_LISTS = Path("/var/lib/apt/lists")
APT_HELPER = "/usr/lib/apt/apt-helper"  # decompresses a list whatever format apt stores it in


@dataclass(frozen=True)
class Package:
    """The fields of one binary package that the data set is made of."""

    name: str
    source: str
    section: str
    roles: frozenset[str]  # debtags role:: facet, e.g. {"program"}
    short: str
    paragraph: str  # first paragraph of the long description; "" where there is none


def parse_stanza(stanza: str) -> dict[str, str]:
    """Split one deb822 stanza into fields; continuation lines keep their newline."""
    fields: dict[str, str] = {}
    for field in re.split(r"\n(?=\S)", stanza.strip("\n")):
        name, _, value = field.partition(":")
        fields[name] = value.strip()
    return fields


def first_paragraph(description: str) -> str:
    """First paragraph of the long description, unwrapped; it ends at " ." or at the first list item."""
    lines: list[str] = []
    for line in description.split("\n")[1:]:
        # Two leading blanks mark verbatim lines (Debian Policy 5.6.13): lists and tables, not prose.
        if line.strip() == "." or line.startswith("  "):
            break
        lines.append(line.strip())
    return " ".join(lines).strip()


def long_descriptions(lists: Path = APT_LISTS) -> dict[str, str]:
    """Description-md5 -> first paragraph, from every Translation-en list that apt holds."""
    paths = sorted(str(path) for path in lists.glob("*_i18n_Translation-en*"))
    if not paths:
        raise FileNotFoundError("no Translation-en lists: run apt-get -o Acquire::Languages=en update")
    text = subprocess.run([APT_HELPER, "cat-file", *paths], capture_output=True, text=True, check=True).stdout
    stanzas = (parse_stanza(stanza) for stanza in text.split("\n\n") if stanza.strip())
    return {fields["Description-md5"]: first_paragraph(fields.get("Description-en", "")) for fields in stanzas}


def package_of(fields: dict[str, str], paragraphs: dict[str, str]) -> Package:
    """Build a record from one stanza of the package index."""
    return Package(
        name=fields["Package"],
        source=fields.get("Source", fields["Package"]).split(" ")[0],
        section=fields.get("Section", "").rpartition("/")[2],
        roles=frozenset(re.findall(r"role::([a-z-]+)", fields.get("Tag", ""))),
        short=fields.get("Description", "").split("\n")[0],
        paragraph=paragraphs.get(fields.get("Description-md5", ""), ""),
    )


def read_packages(lists: Path = APT_LISTS) -> list[Package]:
    """Every binary package apt knows of, one record per name (the first version listed), sorted by name."""
    dump = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, text=True, check=True).stdout
    paragraphs = long_descriptions(lists)
    packages: dict[str, Package] = {}
    for stanza in dump.split("\n\n"):
        if stanza.strip():
            package = package_of(parse_stanza(stanza), paragraphs)
            packages.setdefault(package.name, package)
    return [packages[name] for name in sorted(packages)]


def releases(lists: Path = APT_LISTS) -> list[str]:
    """ "suite, date" of every Debian Release file among the lists: the snapshot the records come from."""
    found = []
    for path in sorted(lists.glob("*debian*_InRelease")):
        head = path.read_text(encoding="utf-8", errors="replace").split("\nMD5Sum", 1)[0].split("\nSHA256", 1)[0]
        fields = dict(line.split(": ", 1) for line in head.split("\n") if ": " in line)
        version = fields.get("Version", "")
        found.append(f"{fields['Label']} {fields['Codename']} {version}".strip() + f", {fields['Date']}")
    return found

"""Build the demo data set from Debian's package index: train, validation and holdout, split by near-duplicate group.

Run as `PYTHONPATH=tools python -m demo_model.dataset DIR`; writes train.parquet, validation.parquet, holdout.parquet
and split.json (counts and near-duplicate figures) into DIR. Only the holdout is shipped.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import click
import numpy as np
import polars as pl

from .debian import Package, read_packages, releases
from .labels import CATEGORIES, SPECS, category_of, source_categories, spec_of
from .split import character_shingles, distribution, near_duplicate_groups, nearest, normalised, word_shingles

SEED = 20260711  # the release date of the archive the shipped holdout comes from
HOLDOUT_ROWS = 1200
VALIDATION_ROWS = 1500
# A category beyond this many training rows is cut: "scripting" holds 15,600 packages against 1,100 to 5,400 for the
# topical ones, and the rest of it only lengthens training.
CATEGORY_CAP = 9000
# Beyond the groups: a training text this near an evaluation text in character 5-grams is dropped. It sees what
# word shingles miss: texts that differ by an inflection or one word in every phrase.
TOO_NEAR = 0.6
COLUMNS = ("text", "category", "spec", "package")


def text_of(package: Package) -> str:
    """What the model reads: the short description and the first paragraph of the long one; never the name."""
    return f"{package.short}. {package.paragraph}".strip()


def labelled(packages: list[Package]) -> pl.DataFrame:
    """One row per distinct description that has at least one label, with its near-duplicate group."""
    by_source = source_categories(packages)
    rows = [
        (text_of(package), category_of(package, by_source), spec_of(package), package.name, package.source)
        for package in packages
    ]
    frame = pl.DataFrame(rows, schema=[*COLUMNS, "source"], orient="row")
    frame = frame.filter(pl.any_horizontal(pl.col("category", "spec").is_not_null()))
    frame = frame.with_columns(pl.col("text").map_elements(normalised, return_dtype=pl.String).alias("key"))
    groups = near_duplicate_groups(frame["text"].to_list(), frame["source"].to_list())
    frame = frame.with_columns(pl.Series("group", groups))  # grouped before equal texts collapse: they link sources
    return frame.unique("key", keep="first", maintain_order=True).drop("key")


def quotas(frame: pl.DataFrame, rows: int) -> dict[tuple[str, str], int]:
    """Rows to draw per (category, spec), proportional to the square root of the cell's size.

    Natural proportions would leave the small cells empty and fill half of the rows with two programming cells; equal
    ones would ask for more than the small cells have.
    """
    counts = frame.group_by("category", "spec").len().sort("category", "spec")
    weights = {(category, spec): math.sqrt(count) for category, spec, count in counts.iter_rows()}
    exact = {cell: rows * weight / sum(weights.values()) for cell, weight in weights.items()}
    found = {cell: int(share) for cell, share in exact.items()}
    by_remainder = sorted(exact, key=lambda cell: found[cell] - exact[cell])
    for cell in by_remainder[: rows - sum(found.values())]:
        found[cell] += 1
    return found


def draw(frame: pl.DataFrame, rows: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Draw an evaluation part, at most one row per group; what is left shares no group with it and no near text."""
    both = frame.filter(pl.col("category").is_not_null(), pl.col("spec").is_not_null())
    both = both.sample(fraction=1.0, shuffle=True, seed=seed).unique("group", keep="first", maintain_order=True)
    wanted = quotas(both, rows)
    cells = [
        both.filter(pl.col("category") == category, pl.col("spec") == spec).head(count)
        for (category, spec), count in wanted.items()
    ]
    drawn = pl.concat(cells)
    spare = both.filter(~pl.col("package").is_in(drawn["package"].to_list()))  # fills up for cells below their quota
    drawn = pl.concat([drawn, spare.head(rows - len(drawn))])
    rest = frame.filter(~pl.col("group").is_in(drawn["group"].to_list()))
    return drawn, rest.filter(pl.Series(nearest(rest["text"], drawn["text"], character_shingles()) < TOO_NEAR))


def capped(frame: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Cut every category to CATEGORY_CAP rows, rows with both labels first."""
    order = pl.col("spec").is_null().cast(pl.Int8)
    shuffled = frame.sample(fraction=1.0, shuffle=True, seed=seed).sort(order, maintain_order=True)
    rank = pl.int_range(pl.len()).over("category")
    return shuffled.filter(pl.col("category").is_null() | (rank < CATEGORY_CAP)).sort("package")


def counts(frame: pl.DataFrame) -> dict[str, dict[str, int]]:
    """Rows per label of each head."""
    heads = {"category": CATEGORIES, "spec": SPECS}
    return {head: {label: int((frame[head] == label).sum()) for label in labels} for head, labels in heads.items()}


def near_duplicate_figures(holdout: pl.DataFrame, train: pl.DataFrame) -> dict[str, dict[str, float]]:
    """Distribution over the holdout of the highest Jaccard index with any train or validation text."""
    shingles = {"word_3_shingles": word_shingles(), "character_5_grams": character_shingles()}
    return {name: distribution(nearest(holdout["text"], train["text"], counter)) for name, counter in shingles.items()}


def build() -> tuple[dict[str, pl.DataFrame], dict[str, object]]:
    """Read the index, split it and measure the split."""
    frame = labelled(read_packages())
    sizes = np.bincount(frame["group"].to_numpy())
    holdout, rest = draw(frame, HOLDOUT_ROWS, SEED)
    validation, rest = draw(rest, VALIDATION_ROWS, SEED + 1)
    train = capped(rest, SEED)
    parts = {"train": train, "validation": validation, "holdout": holdout}
    figures: dict[str, object] = {
        "releases": releases(),
        "rows": {name: len(part) for name, part in parts.items()},
        "labels": {name: counts(part) for name, part in parts.items()},
        "groups": {"count": int((sizes > 0).sum()), "largest": int(sizes.max())},
        "holdout_to_train": near_duplicate_figures(holdout, pl.concat([train, validation])),
    }
    return {name: part.select(COLUMNS).sort("package") for name, part in parts.items()}, figures


@click.command(help=__doc__)
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
def main(directory: Path) -> None:
    """Write the three parts and split.json into DIRECTORY."""
    directory.mkdir(parents=True, exist_ok=True)
    parts, figures = build()
    for name, part in parts.items():
        part.write_parquet(directory / f"{name}.parquet", compression="zstd")
    (directory / "split.json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    click.echo(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()

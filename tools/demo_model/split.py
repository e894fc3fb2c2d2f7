"""Group near-duplicate descriptions and measure how near two sets of texts come to each other.

Similarity is the Jaccard index of word 3-shingles, computed exactly for all pairs by a sparse product: the archive
has about 60,000 distinct texts and 1.4e8 shared-shingle pairs, so no sketch (MinHash) with a recall of its own is
needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.feature_extraction.text import CountVectorizer

# Of 12 random pairs per band of 0.1 that were read, all at 0.5 to 0.7 and 11 at 0.4 to 0.5 were one piece of software
# or one family (versions, plugins, forks); 11 at 0.3 to 0.4 were unrelated packages sharing a packaging sentence.
NEAR_DUPLICATE = 0.5
BLOCK_ROWS = 2000  # bounds the memory of the sparse product


def normalised(text: str) -> str:
    """Lower-case words separated by single blanks: equal strings are the same description."""
    return " ".join(re.findall(r"\w+", text.lower()))


def word_shingles() -> CountVectorizer:
    """Counter of distinct word 3-shingles."""
    return CountVectorizer(ngram_range=(3, 3), token_pattern=r"\w+", binary=True, dtype=np.float32)


def character_shingles() -> CountVectorizer:
    """Counter of distinct character 5-grams: an independent check that sees inflections and reordered phrases."""
    return CountVectorizer(analyzer="char", ngram_range=(5, 5), binary=True, dtype=np.float32)


def jaccard_blocks(left: csr_matrix, right: csr_matrix) -> Iterator[tuple[int, csr_matrix]]:
    """Jaccard index of every row of `left` with every row of `right`, a block of rows at a time (sparse)."""
    size_left = np.asarray(left.sum(axis=1)).ravel()
    size_right = np.asarray(right.sum(axis=1)).ravel()
    right_t = right.T.tocsr()
    for start in range(0, left.shape[0], BLOCK_ROWS):
        shared = (left[start : start + BLOCK_ROWS] @ right_t).tocoo()
        union = size_left[start + shared.row] + size_right[shared.col] - shared.data
        yield start, csr_matrix((shared.data / union, (shared.row, shared.col)), shape=shared.shape)


def near_duplicate_groups(texts: Sequence[str], sources: Sequence[str]) -> NDArray[np.int32]:
    """Group number per text: same source package, or a chain of pairs at or above NEAR_DUPLICATE."""
    shingles = csr_matrix(word_shingles().fit_transform(normalised(text) for text in texts))
    first_of_source: dict[str, int] = {}
    rows = [np.arange(len(texts))]
    columns = [np.array([first_of_source.setdefault(source, i) for i, source in enumerate(sources)])]
    for start, block in jaccard_blocks(shingles, shingles):
        pairs = block.tocoo()
        near = pairs.data >= NEAR_DUPLICATE
        rows.append(pairs.row[near] + start)
        columns.append(pairs.col[near])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = csr_matrix((np.ones(len(row), dtype=np.int8), (row, column)), shape=(len(texts), len(texts)))
    labels: NDArray[np.int32] = connected_components(graph, directed=False)[1]
    return labels


def nearest(queries: Iterable[str], corpus: Iterable[str], counter: CountVectorizer) -> NDArray[np.float64]:
    """For each query, its highest Jaccard index with any text of the corpus."""
    asked, held = list(map(normalised, queries)), list(map(normalised, corpus))
    both = csr_matrix(counter.fit_transform([*asked, *held]))
    left, right = both[: len(asked)], both[len(asked) :]
    found = np.zeros(len(asked))
    for start, block in jaccard_blocks(left, right):
        found[start : start + block.shape[0]] = block.max(axis=1).toarray().ravel()
    return found


def distribution(values: NDArray[np.float64]) -> dict[str, float]:
    """Median, 90th, 99th percentile and maximum, rounded for the record."""
    points = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "max": 100.0}
    return {name: round(float(np.percentile(values, point)), 4) for name, point in points.items()}

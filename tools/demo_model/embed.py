"""Start the token embeddings from co-occurrence: PPMI over the training texts, factorised by a truncated SVD.

30,000 descriptions are too few for a transformer to learn word similarity from labels alone; the factorisation gives
it words that appear in the same contexts as neighbours from the first step on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix, csr_matrix
from sklearn.utils.extmath import randomized_svd

WINDOW = 8  # tokens to the right; topical rather than syntactic similarity
SMOOTHING = 0.75  # exponent on context counts (Levy, Goldberg and Dagan 2015), tames rare contexts


def cooccurrence(sequences: Sequence[Sequence[int]], vocabulary: int) -> csr_matrix:
    """Symmetric counts of token pairs at distance 1..WINDOW, weighted by 1/distance."""
    flat = np.concatenate([np.asarray([*sequence, -1], dtype=np.int64) for sequence in sequences])
    text = np.cumsum(flat == -1)
    total = csr_matrix((vocabulary, vocabulary), dtype=np.float64)
    for distance in range(1, WINDOW + 1):
        left, right = flat[:-distance], flat[distance:]
        same = (text[:-distance] == text[distance:]) & (left >= 0) & (right >= 0)
        weight = np.full(int(same.sum()), 1.0 / distance)
        total = total + coo_matrix((weight, (left[same], right[same])), shape=total.shape).tocsr()
    return csr_matrix(total + total.T)


def ppmi(counts: csr_matrix) -> csr_matrix:
    """Positive pointwise mutual information with smoothed context probabilities."""
    pairs = counts.tocoo()
    rows = np.asarray(counts.sum(axis=1)).ravel()
    context = rows**SMOOTHING
    information = np.log(pairs.data * context.sum() / (rows[pairs.row] * context[pairs.col]))
    return csr_matrix((np.maximum(information, 0.0), (pairs.row, pairs.col)), shape=pairs.shape)


def initial_embeddings(
    sequences: Sequence[Sequence[int]], vocabulary: int, width: int, seed: int
) -> NDArray[np.float32]:
    """Rows of U * sqrt(S), centred per dimension and scaled to unit variance overall."""
    left, singular, _ = randomized_svd(ppmi(cooccurrence(sequences, vocabulary)), width, random_state=seed)
    vectors = left * np.sqrt(singular)
    vectors -= vectors.mean(axis=0)
    return np.asarray(vectors / vectors.std(), dtype=np.float32)

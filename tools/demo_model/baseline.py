"""The yardstick of the demo model: TF-IDF with logistic regression on the same text and the same split.

Word 1- and 2-grams, sublinear term frequency; C and the class weighting are chosen per head on the validation part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score

CS = (3.0, 10.0, 30.0)
CLASS_WEIGHTS = (None, "balanced")


def macro_f1(truth: Sequence[Any], predicted: Sequence[Any]) -> float:
    """Unweighted mean of the per-class F1."""
    return float(f1_score(truth, predicted, average="macro"))


def vectoriser() -> TfidfVectorizer:
    """Sublinear TF-IDF of word 1- and 2-grams; n-grams seen in one text only are left out."""
    return TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)


def candidates(features: csr_matrix, labels: pl.Series) -> list[tuple[dict[str, Any], LogisticRegression]]:
    """One fitted classifier per setting tried."""
    settings = [{"C": c, "class_weight": weight} for weight in CLASS_WEIGHTS for c in CS]
    return [
        (setting, LogisticRegression(max_iter=300, tol=1e-3, **setting).fit(features, labels.to_numpy()))
        for setting in settings
    ]


def baseline_of_head(head: str, parts: dict[str, pl.DataFrame]) -> dict[str, Any]:
    """Fit on the rows of train that carry the head's label; report validation and holdout macro F1."""
    train = parts["train"].filter(pl.col(head).is_not_null())
    words = vectoriser()
    features = words.fit_transform(train["text"])
    tried = []
    for setting, classifier in candidates(features, train[head]):
        scores = {
            name: macro_f1(parts[name][head].to_list(), list(classifier.predict(words.transform(parts[name]["text"]))))
            for name in ("validation", "holdout")
        }
        tried.append({**setting, **scores})
    best = max(tried, key=lambda entry: float(entry["validation"]))
    return {**best, "tried": [{k: v for k, v in entry.items() if k != "holdout"} for entry in tried]}

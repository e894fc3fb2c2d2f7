"""Soft labels from the baseline, for distillation: what TF-IDF knows about each training row without its own label.

Predictions are out of fold: a classifier that has seen the row's label repeats it, one that has not says how sure the
words alone make it, which also dampens the wrong labels that packagers' metadata contains.
"""

from __future__ import annotations

import numpy as np
import polars as pl
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from torch import Tensor

from .baseline import vectoriser
from .labels import HEADS

FOLDS = 4
C = 10.0  # best or within 0.007 of the best on validation for both heads


def soft_labels(train: pl.DataFrame, head: str, seed: int) -> Tensor:
    """Out-of-fold class probabilities (rows, classes); rows without the label get the prediction of a full fit."""
    features = vectoriser().fit_transform(train["text"])
    has_label = train[head].is_not_null().to_numpy()
    number = {label: i for i, label in enumerate(HEADS[head])}
    labels = np.array([number[label] for label in train[head].drop_nulls()])
    classifier = LogisticRegression(C=C, max_iter=100, tol=1e-3, class_weight="balanced")
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = np.empty((len(train), len(number)), dtype=np.float32)
    found[has_label] = cross_val_predict(classifier, features[has_label], labels, cv=folds, method="predict_proba")
    if not has_label.all():
        found[~has_label] = classifier.fit(features[has_label], labels).predict_proba(features[~has_label])
    return torch.from_numpy(found)

"""Reranker: gradient-boosted trees over candidates, kept and evaluated as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from saleor_personalize.ml.base import Arrays

#: Levels of every tree. Shallower branches are filled up, so that all rows take as many steps.
DEPTH = 6


def fit_trees(
    features: NDArray[np.float32],
    is_relevant: NDArray[np.bool_],
    *,
    n_trees: int = 140,
    learning_rate: float = 0.07,
    n_leaves: int = 31,
    share_of_features: float = 0.15,
    seed: int = 0,
) -> Arrays:
    """Learn which rows are relevant, from `features` (f, rows) without NaN; give the trees.

    Pointwise log-loss. Each split looks at a drawn share of the features: trees that differ more
    are better together. ValueError: all rows are relevant, or none.
    """
    model = HistGradientBoostingClassifier(
        max_iter=n_trees,
        learning_rate=learning_rate,
        max_leaf_nodes=n_leaves,
        max_depth=DEPTH,
        max_features=share_of_features,
        min_samples_leaf=40,
        l2_regularization=2.0,
        early_stopping=False,
        random_state=seed,
    ).fit(features.T, is_relevant)
    return trees_of(model)


def trees_of(model: HistGradientBoostingClassifier) -> Arrays:
    """Turn the trees of a fitted two-class model into arrays of complete trees.

    The children of node i are 2i + 1 and 2i + 2. `tree_feature` int64 and `tree_threshold` float32
    (trees, 2 ** DEPTH - 1): to the left unless the feature is above the threshold. `tree_value`
    float32 (trees, 2 ** DEPTH): by leaf, from the left. `tree_bias` float64 (1,).
    """
    # scikit-learn gives no other way to its trees; a test holds both evaluations side by side.
    predictors = [predictor for (predictor,) in model._predictors]
    feature = np.zeros((len(predictors), 2**DEPTH - 1), dtype=np.int64)
    threshold = np.full(feature.shape, np.inf, dtype=np.float32)
    value = np.zeros((len(predictors), 2**DEPTH), dtype=np.float32)
    for tree, predictor in enumerate(predictors):
        nodes = predictor.nodes
        # Pairs of a node of the model and the place it takes.
        open_nodes = [(0, 0)]
        while open_nodes:
            at, place = open_nodes.pop()
            node = nodes[at]
            if place >= 2**DEPTH - 1:
                value[tree, place - (2**DEPTH - 1)] = node["value"]
            elif node["is_leaf"]:
                # Nothing is above the infinite threshold: all go left, down to the bottom.
                open_nodes.append((at, 2 * place + 1))
            else:
                feature[tree, place] = node["feature_idx"]
                threshold[tree, place] = _rounded_down(node["num_threshold"])
                open_nodes.append((int(node["left"]), 2 * place + 1))
                open_nodes.append((int(node["right"]), 2 * place + 2))
    return {
        "tree_feature": feature,
        "tree_threshold": threshold,
        "tree_value": value,
        "tree_bias": np.asarray(model._baseline_prediction, dtype=np.float64).reshape(1),
    }


def score_trees(
    trees: Mapping[str, NDArray[Any]], features: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Log-odds of each column of `features` (f, rows), as `decision_function` of the model gives."""
    feature, threshold = trees["tree_feature"], trees["tree_threshold"]
    rows = features.shape[1]
    flat = np.ascontiguousarray(features, dtype=np.float32).ravel()
    row = np.arange(rows)
    # All trees and rows go down a level at a time; `node` counts from the left of the level.
    node = (features[feature[:, 0]] > threshold[:, :1]).astype(np.int64)
    root = np.arange(len(feature))[:, None] * feature.shape[1]
    begins, thresholds = feature.ravel() * rows, threshold.ravel()
    for level in range(1, DEPTH):
        at = node + (root + (2**level - 1))
        is_right = flat.take(begins.take(at) + row) > thresholds.take(at)
        node += node
        node += is_right
    leaf = node + np.arange(len(feature))[:, None] * 2**DEPTH
    values = trees["tree_value"].ravel().take(leaf)
    return np.asarray(values.sum(axis=0, dtype=np.float64) + trees["tree_bias"][0])


def _rounded_down(threshold: np.float64) -> np.float32:
    """The largest float32 not above: rounding up would send what lies between to the other side."""
    rounded = np.float32(threshold)
    return np.nextafter(rounded, np.float32(-np.inf)) if rounded > threshold else rounded

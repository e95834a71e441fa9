"""Log-probabilities N×C of the baselines, from plain arrays. Nothing is random.

Regressions are scikit-learn's multinomial logistic regression, L2 with C = 1, L-BFGS to a gradient of 1e-3: on the
labels of FoodSeg103, going on to 1e-4 takes three times as long and moves top-1 by less than 0.1 points.
"""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from utils.metrics import Array

LogProbabilities = NDArray[np.float64]
Features: TypeAlias = Array | sparse.csr_array


def majority(labels: Array, n_test: int, n_classes: int) -> LogProbabilities:
    """Return the classes' shares of the training labels, the same for each of ``n_test`` pairs."""
    counts = np.bincount(labels, minlength=n_classes)
    with np.errstate(divide="ignore"):
        return np.tile(np.log(counts / counts.sum()), (n_test, 1))


def from_labels(train: sparse.csr_array, labels: Array, test: sparse.csr_array) -> LogProbabilities:
    """Predict from ``features.label_context`` alone (N×C and M×C); returns M×C."""
    return _regress(train, labels, test, train.shape[1])


def from_labels_and_geometry(
    train: sparse.csr_array, train_geometry: Array, labels: Array, test: sparse.csr_array, test_geometry: Array
) -> LogProbabilities:
    """Predict from the context and columns of geometry, brought to zero mean and unit deviation; returns M×C."""
    scale = StandardScaler().fit(train_geometry)
    joined = [
        sparse.hstack([context, sparse.csr_array(scale.transform(geometry))], format="csr")
        for context, geometry in ((train, train_geometry), (test, test_geometry))
    ]
    return _regress(joined[0], labels, joined[1], train.shape[1])


def from_geometry(train: Array, labels: Array, test: Array, n_classes: int) -> LogProbabilities:
    """Predict from columns of geometry, their squares and products; returns M×C.

    Products let the regression see how much of its box a roi fills, and a place rather than a direction.
    """
    expand = make_pipeline(StandardScaler(), PolynomialFeatures(2, include_bias=False), StandardScaler()).fit(train)
    return _regress(expand.transform(train), labels, expand.transform(test), n_classes)


def from_colours(train: Features, labels: Array, test: Features, n_classes: int) -> LogProbabilities:
    """Predict from the square roots of colour histograms; returns M×C."""
    return _regress(train, labels, test, n_classes)


def _regress(train: Features, labels: Array, test: Features, n_classes: int) -> LogProbabilities:
    """Fit on the classes that occur; the others are ruled out with -inf."""
    result = np.full((test.shape[0], n_classes), -np.inf)
    occurring = np.unique(labels)
    if occurring.size == 1:  # nothing to tell apart
        result[:, occurring] = 0.0
        return result
    model = LogisticRegression(C=1.0, tol=1e-3, max_iter=1000).fit(train, labels)
    result[:, model.classes_] = model.predict_log_proba(test)
    return result

"""Logistic regression on frozen features or on count maps."""

import numpy as np
import torch
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

PENALTIES = tuple(10.0**e for e in range(-4, 4))  # C of scikit-learn, chosen on the validation part


def probe_scores(
    train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], test: np.ndarray, classes: int
) -> tuple[Float[Tensor, "N K"], float]:
    """Fit a logistic regression and score test features.

    Args:
        train: features (N, F) and labels.
        val: features and labels that choose the penalty; never part of the fit.
        test: features to score.
        classes: K; a class without training recordings scores minus infinity.

    Returns:
        Log-probabilities of the classes, and the chosen C (scikit-learn's: the smaller, the stronger the penalty).
    """
    fits = []
    for penalty in PENALTIES:
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=penalty, max_iter=400))
        fits.append(probe.fit(*train))
    accuracy = [probe.score(*val) for probe in fits]
    best = int(np.argmax(accuracy))  # of equals the strongest penalty
    scores = torch.full((len(test), classes), float("-inf"))
    scores[:, fits[best][-1].classes_] = torch.from_numpy(fits[best].predict_log_proba(test)).float()
    return scores, PENALTIES[best]

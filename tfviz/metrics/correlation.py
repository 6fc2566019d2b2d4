"""Correlations of rows: Pearson's and, on ranks, Spearman's."""

from __future__ import annotations

import numpy as np


def pearson(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute Pearson's correlation of each pair of rows.

    Args:
        a, b: (N, P) values.

    Returns:
        (N,) correlations in [-1, 1]; 0 where a row is constant or empty.
    """
    a, b = (_standardized(np.asarray(x, np.float64)) for x in (a, b))
    return np.clip(np.sum(a * b, axis=1), -1, 1)


def _standardized(x: np.ndarray) -> np.ndarray:
    """Return rows with mean 0 and length 1; constant rows become 0."""
    if not x.shape[1]:
        return x
    is_constant = np.ptp(x, axis=1, keepdims=True) == 0
    x = x - x.mean(axis=1, keepdims=True)
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.where(is_constant, 0, x / np.where(is_constant | (length == 0), 1, length))


def spearman(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute Spearman's rank correlation of each pair of rows; ties get their average rank.

    Args:
        a, b: (N, P) values.

    Returns:
        (N,) correlations in [-1, 1]; 0 where a row is constant or empty.
    """
    return pearson(average_ranks(a), average_ranks(b))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Rank each row from 0; equal values share the average of their ranks.

    Args:
        values: (N, P) values.

    Returns:
        (N, P) ranks, float64.
    """
    values = np.asarray(values)
    order = np.argsort(values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    is_new = np.ones(values.shape, bool)
    is_new[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    places = np.broadcast_to(np.arange(values.shape[1]), values.shape)
    first = np.maximum.accumulate(np.where(is_new, places, 0), axis=1)
    is_last = np.ones(values.shape, bool)
    is_last[:, :-1] = is_new[:, 1:]
    beyond = np.where(is_last, places, values.shape[1])
    last = np.minimum.accumulate(beyond[:, ::-1], axis=1)[:, ::-1]
    ranks = np.empty(values.shape, np.float64)
    np.put_along_axis(ranks, order, (first + last) / 2, axis=1)
    return ranks

"""Resolve targets that are given as words, such as a class name or "top3"."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias, cast

import numpy as np

from tfviz.against import Against
from tfviz.errors import TargetError
from tfviz.models.labels import Labels
from tfviz.targets import At, Rank, Target

ClassOrRank: TypeAlias = "int | Rank"


def targets_named(word: str, labels: Callable[[], Labels], classes: int | None) -> dict[str, ClassOrRank]:
    """Resolve a word to one or more targets.

    Args:
        word: "top", "top3", or a class number or name (see `Labels.index`).
        labels: a function that returns the class names, called only if needed.
        classes: the number of classes, or None if unknown.

    Returns:
        A dict such as {"goldfish": 1} or {"top": Rank(0)}, or {"top1": Rank(0), "top2": Rank(1)}
        for two ranks.

    Raises:
        TargetError: no class or several classes have this name, or the number or rank is out of
            range.
    """
    if rank := re.fullmatch(r"top(\d*)", word.strip().lower()):
        count = int(rank[1] or 1)
        if count < 1 or (classes is not None and count > classes):
            most = "more" if classes is None else f"top{classes}, because the model has {classes} classes"
            raise TargetError(f"Target {word!r} is out of range. Choose from top1 to {most}.")
        return {word: Rank(0)} if count == 1 else {f"top{place + 1}": Rank(place) for place in range(count)}
    return {word: class_named(word, labels, classes)}


def class_named(word: str, labels: Callable[[], Labels], classes: int | None) -> int:
    """Return the index of the class with this name or number (see `targets_named`)."""
    index = int(word) if re.fullmatch(r"\s*\d+\s*", word) else labels().index(word)
    if classes is not None and not 0 <= index < classes:
        raise TargetError(f"Target {word!r} is out of range. The model has {classes} classes (0 to {classes - 1}).")
    return index


def in_numbers(target: Target | str, labels: Callable[[], Labels], classes: int | None) -> Target | dict[str, ClassOrRank]:
    """Replace words in a target with class numbers. A list of names becomes one class per image.

    Args:
        target: what to explain.
        labels: a function that returns the class names, called only if needed.
        classes: the number of classes, or None if unknown.

    Returns:
        The target or, for several ranks such as "top2", a dict of targets keyed by name.

    Raises:
        TargetError: see `targets_named`.
    """
    if isinstance(target, str):
        found = targets_named(target, labels, classes)
        return found if len(found) > 1 else next(iter(found.values()))
    if isinstance(target, At) and _are_words(target.class_index):
        return replace(target, class_index=_indices(target.class_index, labels, classes))
    if isinstance(target, Against) and _are_words(target.c):
        return replace(target, c=_indices(target.c, labels, classes))
    return _indices(target, labels, classes) if _are_words(target) else cast("Target", target)


def _are_words(given: object) -> bool:
    is_several = isinstance(given, (list, tuple, np.ndarray)) and len(given)
    return isinstance(given, str) or bool(is_several and all(isinstance(one, str) for one in cast("list[object]", given)))


def _indices(words: object, labels: Callable[[], Labels], classes: int | None) -> int | np.ndarray:
    if isinstance(words, str):
        return class_named(words, labels, classes)
    return np.array([class_named(str(word), labels, classes) for word in cast("list[str]", words)], np.int32)

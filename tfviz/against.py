"""Define `Against`, a target that contrasts a class with its nearest rivals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfviz.errors import OptionError, TargetError
from tfviz.numerics import safe_divide
from tfviz.seeds import Choice, ChoosingTarget


@dataclass(frozen=True)
class Against(ChoosingTarget):
    """A target that explains a class in contrast to its nearest rivals.

    The score is S_c − alpha · Σ_j p_j S_j / Σ_j p_j over the rivals j of class c, where p is the
    softmax of S. The rivals are the classes whose scores on the unperturbed image are nearest to
    S_c. See Zhang et al., 2025, "Finer-CAM: Spotting the Difference Reveals Finer Details for
    Visual Explanation". This target can mislead if the network is confident: the nearest rivals
    then have almost no probability, and how they differ from c may be unrelated to why the network
    chose c.

    Args:
        c: the class, by number or name, or one class per image. None selects each image's top
            class.
        classes: the number of rivals. If the model has fewer other classes, all of them are used.
        alpha: the weight of the rivals; 0 explains the class alone.

    Raises:
        OptionError: `classes` is not a positive integer, or `alpha` is not a finite number.
    """

    c: int | str | Sequence[int] | Sequence[str] | np.ndarray | None = None
    classes: int = 3
    alpha: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.classes, (int, np.integer)) or isinstance(self.classes, bool) or self.classes < 1:
            raise OptionError(f"`classes` must be a positive integer. Received: {self.classes!r}.")
        if not isinstance(self.alpha, (int, float, np.number)) or not np.isfinite(self.alpha):
            raise OptionError(f"`alpha` must be a finite number. Received: {self.alpha!r}.")
        if self.c is not None and not isinstance(self.c, str):
            # Compiled functions are cached by target, so the target must be hashable.
            given = np.asarray(self.c)
            object.__setattr__(self, "c", tuple(given.tolist()) if given.ndim else given.item())

    @property
    def rows(self) -> int | None:
        return len(self.c) if isinstance(self.c, tuple) and len(self.c) != 1 else None

    def part(self, rows: slice) -> Against:
        return Against(self.c[rows], self.classes, self.alpha) if isinstance(self.c, tuple) and len(self.c) != 1 else self

    def check(self, count: int | None, classes: int | None) -> None:
        chosen = np.atleast_1d([] if self.c is None else np.asarray(self.c))
        if chosen.ndim > 1 or (chosen.size and not np.issubdtype(chosen.dtype, np.integer)):
            raise TargetError(
                f"`c` must be a class number or name, or a list with one class per image. Received: c={self.c!r}."
            )
        if chosen.size and (chosen.min() < 0 or (classes is not None and chosen.max() >= classes)):
            last = (
                " Class numbers start at 0." if classes is None else f" The model has {classes} classes (0 to {classes - 1})."
            )
            raise TargetError(f"Class {int(chosen.min() if chosen.min() < 0 else chosen.max())} is out of range.{last}")
        if None not in (count, self.rows) and self.rows != count:
            raise TargetError(
                f"Against needs one class per image, {count} in total. Received: {self.rows} classes. Pass a single class to "
                "use it for all images."
            )
        if classes == 1:
            raise TargetError(
                "Against contrasts a class with others, but the model has only one output. Pass target=0 instead."
            )

    def explained_classes(self, outputs: tf.Tensor) -> tf.Tensor:
        if self.c is None:
            return tf.argmax(outputs, axis=-1, output_type=tf.int32)
        return tf.broadcast_to(tf.constant(np.atleast_1d(self.c), tf.int32), tf.shape(outputs)[:1])

    def choose(self, outputs: tf.Tensor) -> Choice:
        c = self.explained_classes(outputs)
        S = tf.cast(outputs, tf.float32)
        distance = tf.abs(S - tf.gather(S, c, batch_dims=1)[:, None])
        # top_k resolves ties in favor of the lower index. The class itself must not be chosen.
        is_own = tf.equal(tf.range(tf.shape(S)[-1])[None], c[:, None])
        count = self.classes if S.shape[-1] is None else min(self.classes, S.shape[-1] - 1)
        return [c, tf.math.top_k(tf.where(is_own, -np.inf, -distance), count).indices]

    def score(self, outputs: tf.Tensor, choice: Choice) -> tf.Tensor:
        c, rivals = choice
        S = tf.cast(outputs, tf.float32)
        S_j = tf.gather(S, rivals, batch_dims=1)
        p_j = tf.gather(tf.nn.softmax(S), rivals, batch_dims=1)
        mean = safe_divide(tf.reduce_sum(p_j * S_j, axis=-1), tf.reduce_sum(p_j, axis=-1))
        return tf.gather(S, c, batch_dims=1) - self.alpha * mean

"""RISE: the mean of random masks, each weighted by the class probability of the masked image.

Question: which regions keep the class probable when they are visible?

    (1 / (n p)) Σ_k p_t(x ⊙ M_k + μ (1 − M_k)) M_k
        Petsiuk et al., 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models",
        equation 6

M_k is one of n random masks: a 7 × 7 grid of zeros and ones, enlarged bilinearly and randomly
shifted. A cell is 1 with probability p. μ is the mean color, and p_t is the target's probability.
The method needs no gradient, so it works on any model. With few masks, the map reflects the masks
more than the network. Evidence smaller than a grid cell appears blurred. The cost is `samples`
forward passes.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, OptionError
from tfviz.graph.backprop import Values
from tfviz.methods.copies import as_copies
from tfviz.methods.interpolation import resized_and_cropped
from tfviz.methods.perturbation import Context, Sums
from tfviz.methods.removal import RemovalExplainer
from tfviz.models.labels import LabelSource
from tfviz.numeric_options import checked_seed, finite_array, positive_integer
from tfviz.seeds import FixedSeed


class RISE(RemovalExplainer):
    """RISE: which regions keep the class probable when they are visible?

    The map is the mean of random masks, each weighted by the class probability of the masked image
    (Petsiuk et al., 2018, "RISE: Randomized Input Sampling for Explanation of Black-box Models").

    Calling the explainer returns a nonnegative attribution of shape (N, H, W).

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> tfviz.RISE(model, samples=32)(images, target=7).shape
        TensorShape([2, 96, 96])
    """

    key: ClassVar[str] = "rise"
    question: ClassVar[str] = "Which regions keep the class probable when they are visible?"

    def __init__(
        self,
        model: keras.Model,
        *,
        samples: int = 4000,
        grid: int = 7,
        kept: float = 0.5,
        masks: np.ndarray | None = None,
        seed: int = 0,
        value: float | np.ndarray | None = None,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        Args:
            model: a built keras.Model with exactly one image input.
            samples: the number of masks.
            grid: the number of mask cells along each axis.
            kept: each cell's probability of being kept, in (0, 1].
            masks: an array of shape (samples, H, W), with values from 0 to 1, to use instead of
                random masks. Overrides `samples` and `grid`.
            seed: the mask seed. All images get the same masks.
            value: the value of removed pixels in the model's value range, one number or one per
                channel. None means the mean color, or 0 if the model's preprocessing is unknown.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it. The masks are weighted by probabilities in either case.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or does not have exactly one image
                input.
            OptionError: an option has an invalid value.
        """
        super().__init__(model, value=value, batch_size=batch_size, score=score, output=output, class_names=class_names)
        self._masks = None if masks is None else np.atleast_1d(finite_array("masks", masks))
        self._samples = positive_integer("samples", samples if self._masks is None else len(self._masks))
        if isinstance(kept, bool) or not isinstance(kept, (int, float, np.number)) or not 0 < kept <= 1:
            raise OptionError(f"`kept` must be a probability greater than 0 and at most 1. Received: {kept!r}.")
        self._kept = float(kept)
        self._cells = positive_integer("grid", grid)
        self._seed = checked_seed(seed)

    def copies_per_image(self, images: list[tf.Tensor]) -> int:
        return self._samples

    def start(self, images: list[tf.Tensor], values: Values, fixed: FixedSeed) -> tuple[Context, Sums]:
        return {}, tf.zeros([tf.shape(images[0])[0], *self.image.size(images)])

    def add(self, images: list[tf.Tensor], context: Context, sums: Sums, numbers: tf.Tensor, fixed: FixedSeed) -> Sums:
        masks = self._masks_for(images, numbers)
        p = as_copies(self.probabilities(self.rows_with(images, masks), fixed), fixed.copies)
        # LiteRT's converter rejects a matrix product with gathered masks.
        weights = p[(..., *[None] * (len(masks.shape) - 1))]
        return sums + tf.reduce_sum(weights * masks[:, None], axis=0)

    def finish(self, images: list[tf.Tensor], context: Context, sums: Sums) -> tf.Tensor:
        return sums / (self._samples * self._kept)

    def _masks_for(self, images: list[tf.Tensor], numbers: tf.Tensor) -> tf.Tensor:
        size = self.image.size(images)
        if self._masks is not None:
            if list(self._masks.shape[1:]) != size:
                raise ImageError(
                    f"The masks must have the same size as the images, {tuple(size)}. Received: `masks` of shape "
                    f"{self._masks.shape}."
                )
            return tf.gather(tf.constant(self._masks), numbers)
        random = np.random.Generator(np.random.Philox(self._seed))
        grids = random.random((self._samples, *[self._cells] * len(size))) < self._kept
        shifts = tf.constant(random.random((self._samples, len(size))), tf.float32)
        cells = [-(-n // self._cells) for n in size]
        offsets = tf.cast(tf.gather(shifts, numbers) * tf.cast(tf.stack(cells), tf.float32), tf.int32)
        chosen = tf.gather(tf.constant(grids, tf.float32), numbers)
        return resized_and_cropped(chosen, [(self._cells + 1) * n for n in cells], offsets, size)

"""Expected gradients: integrated gradients, averaged over baselines that are background images.

Question: which pixels explain the score difference from typical images?

    E[(x − x′) ⊙ ∂S/∂x at x′ + α (x − x′)] over background images x′ and α in [0, 1]
        Erion et al., 2021, "Improving performance of deep learning models with axiomatic
        attribution priors and expected gradients", equation 4

Integrated gradients assigns no attribution to pixels with the baseline's color. Averaging over many
baselines avoids this problem. The map shows how the image differs from the backgrounds, so it does
not show the class if the backgrounds also contain this class. The cost is `samples` forward and
backward passes.
"""

from __future__ import annotations

from typing import ClassVar

import keras
import numpy as np
import tensorflow as tf

from tfviz.errors import ImageError, OptionError, UnsupportedModelError
from tfviz.methods.path import PathExplainer
from tfviz.models.labels import LabelSource
from tfviz.numeric_options import checked_seed, finite_array, positive_integer

_FEWEST = 8


class ExpectedGradients(PathExplainer):
    """Expected gradients: which pixels explain the score difference from the background images?

    The map is the mean of (x − x′) ⊙ ∂S/∂x at points between background images x′ and the image x
    (Erion et al., 2021, "Improving performance of deep learning models with axiomatic attribution
    priors and expected gradients").

    Calling the explainer returns a signed attribution of shape (N, H, W, C). The attribution
    approximately sums to S(x) minus the mean score of the backgrounds.

    Example:

        >>> model = tfviz.load_model("shapes")
        >>> images = np.zeros((2, 96, 96, 3), "float32")
        >>> backgrounds = np.random.default_rng(0).uniform(-1, 1, (8, 96, 96, 3))
        >>> explainer = tfviz.ExpectedGradients(model, backgrounds, samples=8)
        >>> explainer(images, target=7).shape
        TensorShape([2, 96, 96, 3])
    """

    key: ClassVar[str] = "expected_gradients"
    question: ClassVar[str] = "Which pixels explain the score difference from typical images?"

    def __init__(
        self,
        model: keras.Model,
        backgrounds: np.ndarray | None = None,
        *,
        samples: int = 64,
        positions: np.ndarray | None = None,
        seed: int = 0,
        batch_size: int = 32,
        score: str = "logits",
        output: str | int | None = None,
        class_names: LabelSource = None,
    ) -> None:
        """Prepare the explainer.

        Args:
            model: a built keras.Model with one input.
            backgrounds: at least 8 preprocessed images of shape (B, H, W, C), such as a random
                sample of the training data.
            samples: the number of samples. Each is one point on a path to the image. The path for
                sample k starts at background k mod B.
            positions: the position of each sample on its path, an array of shape (samples,) with
                values from 0 to 1. Overrides `samples`. If None, position k is drawn uniformly from
                [k / samples, (k + 1) / samples).
            seed: the seed for the positions.
            batch_size: the maximum number of rows to run at once in a call.
            score: "logits" explains the outputs before the final softmax or sigmoid; "outputs"
                explains them after it.
            output: the name, dict key or index of the output to explain. If None, all outputs are
                kept, so that a target function can use them.
            class_names: class names for targets such as "goldfish": a sequence in output order, or
                a labels file. If None, the explainer uses the names from `load_model`, or
                ImageNet's names for a keras.applications network with 1000 classes.

        Raises:
            UnsupportedModelError: the model cannot be traced, or has several inputs.
            OptionError: there are fewer than 8 backgrounds, or an option has an invalid value.
        """
        super().__init__(model, score=score, output=output, class_names=class_names)
        self.use_batch_size(batch_size)
        self._backgrounds = _checked(backgrounds)
        self._positions = _positions(positive_integer("samples", samples), positions, checked_seed(seed))
        if len(self.graph.inputs) > 1:
            raise UnsupportedModelError(
                f"{self.key} supports only models with one input, but '{self.graph.model_name}' has {len(self.graph.inputs)}. "
                "Use integrated_gradients, or build a model in which the other inputs are constant."
            )

    def baselines(self, number: int, images: tf.Tensor) -> tf.Tensor:
        size, given = tuple(images.shape[1:]), tuple(self._backgrounds.shape[1:])
        if len(size) != len(given) or any(n not in (None, m) for n, m in zip(size, given, strict=True)):
            raise ImageError(
                f"The backgrounds have shape {self._backgrounds.shape}, but the images have shape {tuple(images.shape)}. "
                "Pass backgrounds with the same size as the images."
            )
        return tf.cast(self._backgrounds, images.dtype)[:, None]

    def path(self) -> tuple[tf.Tensor, tf.Tensor]:
        numbers = np.arange(len(self._positions)) % len(self._backgrounds)
        return tf.constant(numbers, tf.int32), tf.constant(self._positions, tf.float32)


def _checked(backgrounds: np.ndarray | None) -> np.ndarray:
    if backgrounds is None or np.ndim(backgrounds) < 2 or len(backgrounds) < _FEWEST:
        received = "none" if backgrounds is None else f"shape {np.shape(backgrounds)}"
        raise OptionError(
            f"expected_gradients needs at least {_FEWEST} background images of shape (B, H, W, C). Received: {received}. Pass "
            "backgrounds=, for example a random sample of the training data."
        )
    return finite_array("backgrounds", backgrounds)


def _positions(samples: int, given: np.ndarray | None, seed: int) -> np.ndarray:
    if given is None:
        uniform = np.random.Generator(np.random.Philox(seed)).random(samples)
        return (np.arange(samples) + uniform) / samples
    positions = finite_array("positions", given)
    if positions.ndim != 1 or not positions.size or not ((positions >= 0) & (positions <= 1)).all():
        raise OptionError(
            f"`positions` must be numbers from 0 to 1, one per sample. Received: shape {positions.shape}, with values from "
            f"{positions.min(initial=1):g} to {positions.max(initial=0):g}."
        )
    return positions

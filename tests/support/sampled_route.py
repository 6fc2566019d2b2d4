"""The methods that run perturbed copies, by a second route: all copies as rows of one batch."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from keras import tree

from support import reference, rewritten
from support.explainers import backgrounds_for, options_for
from support.reference.removal import corners
from support.reference.resizing import min_max

Arrays = list[np.ndarray]


class SampledRoute:
    """One network on one batch.

    Args:
        twin: a plain model that ends in the logits to explain.
        images: the batch, nested like the model's inputs.
        seed: maps the logits to the weights of the score.
        cam: the layer of the CAMs.
        probability: maps logits to probabilities.
    """

    def __init__(
        self, twin: Any, images: Any, seed: Callable[[Any], Any], cam: str | None, probability: Callable[[Any], Any]
    ) -> None:
        self.twin, self.nested, self.seed, self.cam, self.probability = twin, images, seed, cam, probability
        self.inputs: Arrays = [np.asarray(x, np.float32) for x in tree.flatten(images)]
        self.noisy: dict[int, list[Arrays]] = {}  # three methods share these gradients
        self.image = max(range(len(self.inputs)), key=lambda i: (self.inputs[i].ndim, -i))

    def maps(self, method: str) -> list[Any]:
        return getattr(self, method)(**options_for(method))

    # --- what a run gives

    def gradients(self, copies: list[Arrays]) -> list[Arrays]:
        """Return the gradient of the score at each copy of the inputs."""
        count = len(self.inputs[0])
        rows = [np.concatenate(parts) for parts in zip(*copies, strict=True)]
        with rewritten.Rewritten(self.twin) as second:
            found = second.back(self._like(rows), self.seed)[1]
        zeros = [np.zeros_like(x) if g is None else np.asarray(g) for g, x in zip(found, rows, strict=True)]
        return [[g[k * count : (k + 1) * count] for g in zeros] for k in range(len(copies))]

    def scores(self, images: list[np.ndarray], is_probability: bool) -> np.ndarray:
        """Return the score or the probability for copies of the image, (copies, N)."""
        rows = [np.concatenate([x] * len(images)) for x in self.inputs]
        rows[self.image] = np.concatenate(images)
        logits = rewritten.run(self.twin, self._like([tf.constant(x) for x in rows]))
        values = self.probability(logits) if is_probability else logits
        weighted = np.asarray(values, np.float64) * np.asarray(self.seed(logits))
        return weighted.reshape(len(images), len(self.inputs[0]), -1).sum(-1)

    def _like(self, rows: list[Any]) -> Any:
        return tree.pack_sequence_as(self.nested, rows)

    # --- paths and noise

    def integrated_gradients(self, steps: int) -> Arrays:
        alphas = [(k + 0.5) / steps for k in range(steps)]
        found = self.gradients([[np.float32(alpha) * x for x in self.inputs] for alpha in alphas])
        return [x * np.mean([one[i] for one in found], 0) for i, x in enumerate(self.inputs)]

    def expected_gradients(self, samples: int) -> Arrays:
        (x,) = self.inputs
        backgrounds = backgrounds_for(None, x.shape[1:])
        alphas = (np.arange(samples) + np.random.Generator(np.random.Philox(0)).random(samples)) / samples
        differences = [x - backgrounds[k % 8] for k in range(samples)]
        points = [(x - (1 - alpha) * d).astype(np.float32) for alpha, d in zip(alphas, differences, strict=True)]
        found = self.gradients([[point] for point in points])
        return [np.mean([d * one[0] for d, one in zip(differences, found, strict=True)], 0)]

    def smooth_grad(self, samples: int) -> Arrays:
        return [np.mean(maps, 0) for maps in self._noisy(samples)]

    def square_grad(self, samples: int) -> Arrays:
        return [np.mean(np.square(maps), 0) for maps in self._noisy(samples)]

    def var_grad(self, samples: int) -> Arrays:
        return [np.var(np.asarray(maps, np.float64), 0) for maps in self._noisy(samples)]

    def _noisy(self, samples: int) -> list[Arrays]:
        if samples not in self.noisy:
            self.noisy[samples] = self._gradients_of_noisy(samples)
        return self.noisy[samples]

    def _gradients_of_noisy(self, samples: int) -> list[Arrays]:
        copies: list[Arrays] = []
        for k in range(samples):
            copies.append([])
            for i, x in enumerate(self.inputs):
                axes = tuple(range(1, x.ndim))
                sigma = 0.15 * (x.max(axes, keepdims=True) - x.min(axes, keepdims=True))
                draw = tf.random.stateless_normal(x.shape[1:], [i * 2**20, k], alg="philox").numpy()
                copies[-1].append((x + sigma * draw).astype(np.float32))
        found = self.gradients(copies)
        return [[one[i] for one in found] for i in range(len(self.inputs))]

    # --- removal

    def occlusion(self, window: int, stride: int) -> Arrays:
        x = self.inputs[self.image]
        size = x.shape[1:-1]
        windows = []
        for starts in itertools.product(*(corners(length, window, stride) for length in size)):
            windows.append(np.zeros(size, bool))
            windows[-1][tuple(slice(start, start + window) for start in starts)] = True
        covered = [x * ~one[..., None] for one in windows]
        drops = self.scores([x], False) - self.scores(covered, False)
        masks = np.stack(windows).astype(np.float64)
        return [np.tensordot(drops, masks, (0, 0)) / masks.sum(0)]

    def rise(self, samples: int, grid: int) -> Arrays:
        x = self.inputs[self.image]
        masks = reference.rise_masks(0, samples, grid, 0.5, x.shape[1:-1])
        p = self.scores([(x * one[..., None]).astype(np.float32) for one in masks], True)
        return [np.tensordot(p, masks, (0, 0)) / (samples * 0.5)]

    # --- channels

    def score_cam(self) -> Arrays:
        x = self.inputs[self.image]
        with rewritten.Rewritten(self.twin) as second:
            second.back(self._like(self.inputs), self.seed, [self.cam])
            A = np.asarray(second.output_of(self.cam), np.float64)
        H = [min_max(rewritten.resized(A[..., k], x.shape[1:-1])) for k in range(A.shape[-1])]
        p = self.scores([(x * one[..., None]).astype(np.float32) for one in H], True)
        axes = tuple(range(1, A.ndim - 1))
        weights = np.where(A.max(axes) > A.min(axes), p.T, 0)
        return [np.maximum((weights.reshape(len(A), *[1] * len(axes), -1) * A).sum(-1), 0)]

    def ablation_cam(self) -> Arrays:
        with Ablated(self.twin, self.cam) as second:
            A = np.asarray(second.run(self.nested)[0], np.float64)
            logits = [second.run(self.nested, k)[1] for k in (None, *range(A.shape[-1]))]
        S = np.stack([(np.asarray(one, np.float64) * self.seed(one)).reshape(len(A), -1).sum(-1) for one in logits])
        w = (S[0] - S[1:]) / np.where(abs(S[0]) < 1e-6, 1, abs(S[0]))
        return [np.maximum((w.T.reshape(len(A), *[1] * (A.ndim - 2), -1) * A).sum(-1), 0)]


class Ablated(rewritten.Rewritten):
    """Set one channel of the last call of a layer to 0."""

    def __init__(self, model: Any, name: str | None) -> None:
        super().__init__(model)
        self.name, self.last, self.number, self.channel = name, None, 0, None

    def run(self, images: Any, channel: int | None = None) -> tuple[Any, Any]:
        """Return the layer's output and the logits."""
        self.start([])
        self.number, self.channel = 0, channel
        logits = rewritten.run(self.model, tree.map_structure(tf.constant, images))
        self.last = self.number
        return self.output_of(self.name), logits

    def rule(self, operation: Any, call: Callable[[], Any], inputs: list[Any]) -> Any:
        output = call()
        if not operation.name.startswith(str(self.name)):
            return output
        self.number += 1
        is_last = self.channel is not None and self.number == self.last
        return output * tf.cast(1 - tf.one_hot(self.channel, output.shape[-1]), output.dtype) if is_last else output

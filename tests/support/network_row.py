"""Every method on one of `support.other_networks` against a second route, in float64."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from unittest import mock

import keras
import numpy as np
import tensorflow as tf
from keras import tree

import tfviz
from support import rewritten
from support.explainers import KEYS, SAMPLED
from support.networks import EXCITATIONS, GRADIENTS
from support.other_networks import BLOCKS, IN_WINDOWS, NETWORKS, NO_ATTENTION, ON_ATTENTION, with_relu_layers
from support.purity import assert_untouched, snapshot
from support.tape import compiled
from support.zoo import ALL_CAMS

REASONS = {
    ON_ATTENTION: "not defined for attention",
    NO_ATTENTION: "not defined: no attention",
    IN_WINDOWS: "not defined: it attends within windows of the image",
}
TOLERANCE = 1e-5  # relative to the largest value; attributions are float32
GROUPS: dict[str, tuple[str, ...]] = {
    "gradients": GRADIENTS,
    "CAMs": ALL_CAMS,
    "excitation": EXCITATIONS,
    "VisualBackProp": ("visual_backprop",),
    "attention": tuple(key for key, method in tfviz.METHODS.items() if method.needs_attention),
}
assert {key for group in GROUPS.values() for key in group} == set(tfviz.METHODS) - set(SAMPLED), KEYS


class NetworkRow:
    """One row: `cells[group]` describes the result, and `wrong` lists failures."""

    def __init__(self, name: str) -> None:
        self.name, self.network = name, NETWORKS[name]
        with in_float64():
            self.model, self.twin = self.network.build("softmax"), self.network.build(None)
        for mine, its in zip(self.twin.variables, self.model.variables, strict=True):
            mine.assign(its)
        with_relu_layers(self.twin)
        self.images = self.network.images()
        self.cells: dict[str, str] = {}
        self.wrong: list[str] = []
        self.backs: dict[type[rewritten.Rewritten], np.ndarray] = {}  # a second route is slow

    def fill(self) -> None:
        before = snapshot(self.model)
        for group, methods in GROUPS.items():
            reason = self.network.refused.get(group)
            self.cells[group] = self._refused(methods, reason) if reason else self._compared(methods)
        assert_untouched(self.model, before)

    def _refused(self, methods: Sequence[str], reason: str) -> str:
        for method in methods:
            try:
                tfviz.METHODS[method](self.model)
            except tfviz.UnsupportedModelError as error:
                if reason not in str(error):
                    self.wrong.append(f"{method}: refused without the words {reason!r}: {error}")
            else:
                self.wrong.append(f"{method}: not refused")
        return REASONS[reason]

    def _compared(self, methods: Sequence[str]) -> str:
        errors = [self._error(method) for method in methods]
        return f"= second route ({max(errors):.0e})"

    def _error(self, method: str) -> float:
        """Return the largest difference from the second route, relative to the largest value."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer = tfviz.METHODS[method](self.model)
        got = explainer(self.images, self.network.score if explainer.takes_target else None).numpy()
        want = np.asarray(self.second_route(method))
        if got.shape != want.shape:
            self.wrong.append(f"{method}: shape {got.shape}, not {want.shape}")
            return np.inf
        error = float(abs(got - want).max() / abs(want).max())
        if not error < TOLERANCE:
            self.wrong.append(f"{method}: {error:.1e} away from the second route")
        if method in ALL_CAMS and not explainer.layer_path.endswith(self.network.cam):
            self.wrong.append(f"{method}: its automatic layer is {explainer.layer_path}, not {self.network.cam}")
        return error

    # --- second routes

    def second_route(self, method: str) -> np.ndarray:
        if method == "gradient_times_input":
            return self.images * self._back(rewritten.Rewritten)
        if method in GRADIENTS:
            return self._back(
                {"guided_backprop": rewritten.Guided, "deconvnet": rewritten.Deconvnet}.get(method, rewritten.Rewritten)
            )
        if method in ALL_CAMS:
            return self._cam(method)
        if method == "visual_backprop":
            with rewritten.Masks(self.twin) as second:
                return second.masks(self.images.astype(np.float64))[0]
        if method in EXCITATIONS:
            return self._excitation(method)
        return getattr(self, f"_{method}")()

    def _seed(self, outputs: Any) -> Any:
        """Return the gradient of the score at the outputs."""
        flat = tree.flatten(outputs)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(flat)
            score = self.network.score(tree.pack_sequence_as(outputs, flat))
        found = tape.gradient(score, flat, unconnected_gradients="zero")
        return tree.pack_sequence_as(outputs, found)

    def _back(self, kind: type[rewritten.Rewritten]) -> np.ndarray:
        if kind not in self.backs:
            with kind(self.twin) as second:
                self.backs[kind] = np.asarray(second.back(self.images.astype(np.float64), self._seed)[1][0])
        return self.backs[kind]

    @cached_property
    def _at_cam(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the maps of the CAM's layer and their gradient, without the prefix tokens."""
        with rewritten.Rewritten(self.twin) as second:
            (G,), _ = second.back(self.images.astype(np.float64), self._seed, [self.network.cam])
            A = second.output_of(self.network.cam)
        return self._on_grid(np.asarray(A)), self._on_grid(np.asarray(G))

    def _on_grid(self, tokens: np.ndarray) -> np.ndarray:
        if self.network.grid is None:
            return tokens
        return tokens[:, self.network.prefix :].reshape(len(tokens), *self.network.grid, -1)

    def _cam(self, method: str) -> np.ndarray:
        maps = rewritten.cam(method, *self._at_cam)
        if method != "guided_grad_cam":
            return maps
        return self._back(rewritten.Guided) * rewritten.resized(maps, self.images.shape[1:-1])[..., None]

    def _excitation(self, method: str) -> np.ndarray:
        images = self.images.astype(np.float64)
        is_contrastive = method == "contrastive_excitation_backprop"
        with rewritten.Contrastive(self.twin, images) if is_contrastive else rewritten.Excitation(self.twin) as second:
            p = np.asarray(second.back(images, self._seed)[1][0]).sum(-1)
        return np.maximum(p, 0) if is_contrastive else p

    # --- attention, as the softmax layers of the running model compute it

    def _probabilities(self, until: int = BLOCKS - 1) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return P and ∂S/∂P of each block, where the head reads the block `until`."""

        def way(flat: list[Any]) -> list[Any]:
            recorded: list[Any] = []
            softmax = tf.nn.softmax

            def recording(x: Any, *args: Any, **options: Any) -> Any:
                P = softmax(x, *args, **options)
                if len(P.shape) == 4 and P.shape[-1] == P.shape[-2]:
                    recorded.append(P)
                return P

            with (
                mock.patch.object(tf.nn, "softmax", recording),
                self._ending_at(until),
                tf.GradientTape(watch_accessed_variables=False) as tape,
            ):
                tape.watch(flat)
                score = self.network.score(rewritten.run(self.twin, flat[0]))
            gradients = tape.gradient(score, recorded, unconnected_gradients="zero")
            return list(zip(recorded, gradients, strict=True))

        found = compiled(way, [self.images.astype(np.float64)])
        return [(np.asarray(P), np.asarray(G)) for P, G in found]

    @contextmanager
    def _ending_at(self, block: int) -> Iterator[None]:
        """Make the blocks after this one the identity, by setting their branches to zero."""
        silenced = [self._layer(name) for names in self.network.branches[block + 1 :] for name in names]
        for layer in silenced:
            layer.call = zeros_of(layer.call)
        try:
            yield
        finally:
            for layer in silenced:
                del layer.call

    def _layer(self, name: str) -> keras.Layer:
        (found,) = (layer for layer in self.twin._flatten_layers() if f"/{layer.path}".endswith(f"/{name}"))
        return found

    def _rows(self, R: np.ndarray) -> np.ndarray:
        """Return the mean of the rows that the head reads, on the grid of the patches."""
        rows = R.mean(1) if self.network.reads is None else R[:, self.network.reads]
        return self._on_grid(rows[..., None])[..., 0]

    def _attention_rollout(self) -> np.ndarray:
        R: np.ndarray | None = None
        for P, _ in self._probabilities():
            A = P.mean(1) + np.eye(P.shape[-1])
            A /= A.sum(-1, keepdims=True)
            R = A if R is None else A @ R
        assert R is not None
        return self._rows(R)

    def _gradient_attention(self) -> np.ndarray:
        found = self._probabilities()
        R = np.broadcast_to(np.eye(found[0][0].shape[-1]), (len(self.images), *found[0][0].shape[-2:]))
        for P, G in found:
            R = R + np.maximum(G * P, 0).mean(1) @ R
        return self._rows(R)

    def _legrad(self) -> np.ndarray:
        maps = [np.maximum(self._probabilities(block)[block][1], 0).mean((1, 2)) for block in range(BLOCKS)]
        return self._on_grid(np.mean(maps, axis=0)[..., None])[..., 0]


def zeros_of(call: Any) -> Any:
    return lambda *args, **options: tree.map_structure(tf.zeros_like, call(*args, **options))


@contextmanager
def in_float64() -> Iterator[None]:
    kept = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(kept[0])
        keras.config.set_dtype_policy(kept[1])

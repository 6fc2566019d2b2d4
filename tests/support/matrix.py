"""Every method on one network of keras.applications, with random weights, against a second route.

Only the input is small: the smallest square for which the last maps still have more than one pixel.
Each network is explained twice. In float32, as users run it, the result must be finite, have the
right shape and be fast. In float64 it must equal the second route. (In float32, the order of
summation decides whether a ReLU at 0 opens, which changes a gradient through hundreds of layers by
several percent.)
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterable
from functools import cached_property, partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import tfviz
from support import rewritten
from support.explainers import KEYS, SAMPLED
from support.networks import CAMS
from support.tape import compiled
from tfviz.models.architectures import ARCHITECTURES

CLASSES = 10
# Perturbed copies are as right as the run of one; see tests/laws/test_zoo.py.
METHODS = tuple(key for key in KEYS if key not in SAMPLED)
# With these random weights no map of a network is zero by itself, which would prove nothing.
SEEDS = {"ConvNeXtSmall": 1, "ConvNeXtBase": 1, "ConvNeXtLarge": 4}
GUIDED = {"guided_backprop": rewritten.Guided, "deconvnet": rewritten.Deconvnet}
TOLERANCE = 1e-5  # relative to the largest value; attributions are float32
SIDES = {"InceptionV3": 107, "InceptionResNetV2": 107, "Xception": 71}  # pixels; all others take 64


def side_of(name: str) -> int:
    return SIDES.get(name, 64)


def build(name: str, dtype: str, activation: str | None = "softmax") -> keras.Model:
    shape = (side_of(name), side_of(name), 3)
    construct = getattr(keras.applications, name)
    kept = keras.config.floatx(), keras.config.dtype_policy()
    keras.config.set_floatx(dtype)
    keras.config.set_dtype_policy(dtype)
    try:
        return construct(weights=None, classes=CLASSES, input_shape=shape, classifier_activation=activation)
    finally:
        keras.config.set_floatx(kept[0])
        keras.config.set_dtype_policy(kept[1])


def copied(name: str, model: keras.Model, activation: str | None = "softmax") -> keras.Model:
    """Copy the network in float64."""
    copy = build(name, "float64", activation)
    for mine, its in zip(copy.variables, model.variables, strict=True):
        mine.assign(its)
    return copy


def pictures(name: str, count: int = 2) -> np.ndarray:
    """Return the network's input: 0..255 if it scales its images itself, otherwise about 0."""
    random = np.random.default_rng(1)
    shape = (count, side_of(name), side_of(name), 3)
    is_raw = ARCHITECTURES[name].mode == "none"
    return (random.uniform(0, 255, shape) if is_raw else random.normal(size=shape)).astype(np.float32)


def alive(model: keras.Model, images: np.ndarray) -> keras.Model:
    """Set random scales, shifts and biases, and BatchNormalization statistics of the images."""
    random = np.random.default_rng(0)
    for weight in model.trainable_weights:
        if len(weight.shape) == 1:
            is_scale = "gamma" in weight.path
            weight.assign(random.uniform(0.6, 1.4, weight.shape) if is_scale else random.normal(0, 0.2, weight.shape))
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return model


def with_depthwise(model: keras.Model) -> keras.Model:
    """Replace grouped convolutions with one group per channel by TensorFlow's depthwise one.

    Keras compiles the former again in each eager call, which takes hours on the largest ConvNeXt.
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.Conv2D) and layer.groups == layer.filters == layer.kernel.shape[2] * layer.groups > 1:
            layer.convolution_op = partial(depthwise, layer)
    return model


def depthwise(layer: Any, x: Any, kernel: Any) -> Any:
    # (height, width, channels, 1)
    kernel = tf.transpose(tf.convert_to_tensor(kernel), (0, 1, 3, 2))
    return tf.nn.depthwise_conv2d(x, kernel, (1, *layer.strides, 1), layer.padding.upper(), dilations=layer.dilation_rate)


class Matrix:
    """One row: `cells[method]` describes the result, and `wrong` lists failures."""

    def __init__(self, name: str) -> None:
        self.name = name
        keras.utils.set_random_seed(SEEDS.get(name, 0))
        self.model = alive(build(name, "float32"), pictures(name, 8))
        self.images = pictures(name)
        self.target = self.model(self.images).numpy().argmax(-1)
        self.seed = np.eye(CLASSES)[self.target]
        self.precise = copied(name, self.model)
        self.twin = with_depthwise(copied(name, self.model, activation=None))
        self.cells: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.wrong: list[str] = []
        self.backs: dict[Any, np.ndarray] = {}  # a second route is slow
        self.has_relu = any(map(rewritten.is_relu, rewritten.leaves(self.twin)))

    def fill(self, methods: Iterable[str] = METHODS) -> None:
        before = fingerprint(self.model), fingerprint(self.precise)
        for method in methods:
            start = time.perf_counter()
            self.cells[method] = self._cell(method)
            print(f"{self.name} {method}: {self.cells[method]} ({time.perf_counter() - start:.0f} s)", flush=True)
        if (fingerprint(self.model), fingerprint(self.precise)) != before:
            self.wrong.append("the model was changed")

    def _cell(self, method: str) -> str:
        try:
            if method in (*CAMS, "guided_grad_cam"):
                return self._cam(method)
            return getattr(self, f"_{method}", lambda: self._gradient(method))()
        except (tfviz.TfvizError, Exception) as error:
            self.wrong.append(f"{method}: {type(error).__name__}: {str(error)[:400]}")
            return f"**{type(error).__name__}**"

    def _explained(self, method: str, **options: Any) -> tuple[Any, np.ndarray]:
        """Return the explainer and its attribution, and time its creation and first call."""
        start = time.perf_counter()
        explainer = tfviz.METHODS[method](self.model, **options)
        target = self.target if explainer.takes_target else None
        attribution = explainer(self.images, target).numpy()
        self.seconds.setdefault(method, round(time.perf_counter() - start, 1))
        if not np.isfinite(attribution).all():
            self.wrong.append(f"{method} {options}: not finite")
        if not abs(attribution).max() > 0:
            self.wrong.append(f"{method} {options}: all zero")
        precise = tfviz.METHODS[method](self.precise, **options)(self.images, target).numpy()
        if precise.shape != attribution.shape:
            self.wrong.append(f"{method} {options}: {attribution.shape} in float32, {precise.shape} in float64")
        return explainer, precise

    def _compared(self, method: str, got: np.ndarray, want: Any, route: str) -> str:
        want = np.asarray(want)
        if got.shape != want.shape:
            self.wrong.append(f"{method}: shape {got.shape}, not {want.shape}")
            return "**wrong shape**"
        error = abs(got - want).max() / abs(want).max()
        if not error < TOLERANCE:
            self.wrong.append(f"{method}: {error:.1e} away from {route}")
            return f"**{error:.0e} away** from {route}"
        return f"= {route} ({error:.0e})"

    # --- gradients

    def _gradient(self, method: str) -> str:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            _, got = self._explained(method)
        if method != "saliency" and not self.has_relu:
            if not any("has none" in str(warning.message) for warning in caught):
                self.wrong.append(f"{method}: no warning that there is no ReLU")
            met = re.search(r"activations?:? ([^)]*)\)", str(caught[0].message)) if caught else None
            route = f"plain gradient, and warns: no ReLU but {met.group(1) if met else '?'}"
            return self._compared(method, got, self._back(rewritten.Rewritten), route)
        return self._compared(method, got, self._back(GUIDED.get(method, rewritten.Rewritten)), "rewritten model")

    def _gradient_times_input(self, method: str = "gradient_times_input") -> str:
        _, got = self._explained(method)
        return self._compared(method, got, self.images * self._back(rewritten.Rewritten), "images × rewritten model")

    def _back(self, kind: type[rewritten.Rewritten]) -> np.ndarray:
        if kind not in self.backs:
            with kind(self.twin) as second:
                self.backs[kind] = second.back(self.images.astype(np.float64), lambda outputs: self.seed)[1][0].numpy()
        return self.backs[kind]

    # --- class activation maps

    @cached_property
    def last_maps(self) -> tuple[str, np.ndarray, np.ndarray]:
        """Return the input of the last global pooling (VGG: last pooling), and its gradient."""
        pools = [layer for layer in self.twin.layers if re.search("Global|MaxPooling", type(layer).__name__)]
        maps = pools[-1].input
        path = next(x.name for x in self.twin.operations if getattr(x, "output", None) is maps)
        two = keras.Model(self.twin.input, [maps, self.twin.output])

        def maps_and_gradient(images: Any) -> tuple[Any, Any]:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                A, logits = two(images, training=False)
            return A, tape.gradient(logits, A, output_gradients=tf.constant(self.seed))

        A, G = compiled(maps_and_gradient, self.images.astype(np.float64))
        return path, A.numpy(), G.numpy()

    def _cam(self, method: str) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer, got = self._explained(method)
        path, A, G = self.last_maps
        want = rewritten.cam(method, A, G)
        if method == "guided_grad_cam":
            want = self._back(rewritten.Guided) * rewritten.resized(want, self.images.shape[1:3])[..., None]
        if explainer.layer.shape[1:] != tuple(A.shape[1:]):
            self.wrong.append(f"{method}: its automatic layer {explainer.layer_path} is not {path}")
        return self._compared(method, got, want, f"two-output model at `{path}`")

    # --- excitation

    def _excitation_backprop(self) -> str:
        with warnings.catch_warnings():
            # The cell says how much.
            warnings.filterwarnings("ignore", message=".* lost more than half of the probability")
            return self._excitation()

    def _excitation(self) -> str:
        with rewritten.Excitation(self.twin) as second:
            at_cuts, (want,) = second.back(self.images.astype(np.float64), lambda outputs: self.seed, at=None)
            lost = {name: amount / len(self.images) for name, amount in second.lost.items()}
            operations, cuts = [operation for operation, *_ in second.calls], second.cuts()
        _, got = self._explained("excitation_backprop", sum_channels=False)
        cell = self._compared("excitation_backprop", got, want, "rewritten model")
        self._must_sum_to("the image", got, 1 - sum(lost.values()))
        kept = {n: 1 - sum(lost.get(operation.name, 0) for operation in operations[n + 1 :]) for n in cuts}
        for number, p in zip(cuts, at_cuts, strict=True):
            self._must_sum_to(operations[number].name, np.asarray(p), kept[number])
        its = dict(zip(rewritten.leaves(self.twin), rewritten.leaves(self.precise), strict=True))
        for number in cuts[:: len(cuts) // 3 + 1]:
            p = tfviz.ExcitationBackprop(self.precise, its[operations[number]])(self.images, self.target).numpy()
            self._must_sum_to(operations[number].name, p, kept[number])
        cell = f"{cell}; kept at {len(cuts)} cuts"
        where = [name for name in sorted(lost, key=lambda name: -abs(lost[name])) if abs(lost[name]) > 5e-4]
        if not where:
            return f"{cell}; sums to {got.sum() / len(got):.3f}"
        worst = ", ".join(f"`{name}` {lost[name]:.3f}" for name in where[:3])
        more = f" and {len(where) - 3} more" if len(where) > 3 else ""
        return f"{cell}; sums to {got.sum() / len(got):.3f}; lost at {worst}{more}"

    def _must_sum_to(self, place: str, p: np.ndarray, expected: float) -> None:
        """The probability of each image at a cut is 1 minus what was lost above it."""
        if abs(p.sum() / len(p) - expected) > 1e-4:
            self.wrong.append(f"excitation_backprop: sums to {p.sum() / len(p):.4f} at {place}, not {expected:.4f}")

    def _contrastive_excitation_backprop(self) -> str:
        with rewritten.Contrastive(self.twin, self.images.astype(np.float64)) as second:
            (want,) = second.back(self.images.astype(np.float64), lambda outputs: self.seed)[1]
        _, got = self._explained("contrastive_excitation_backprop", sum_channels=False)
        return self._compared("contrastive_excitation_backprop", got, want, "rewritten model")

    # --- VisualBackProp

    def _visual_backprop(self) -> str:
        _, got = self._explained("visual_backprop")
        with rewritten.Masks(self.twin) as second:
            (want,) = second.masks(self.images.astype(np.float64))
        return self._compared("visual_backprop", got, want, "rewritten model")


def fingerprint(model: keras.Model) -> Any:
    """Return everything that must be unchanged: weights, config, flags and nodes."""
    parts = list(model._flatten_layers())
    weights = [float(tf.reduce_sum(tf.abs(x))) for x in model.variables if "float" in x.dtype]
    nodes = [(len(part._inbound_nodes), len(part._outbound_nodes), part.trainable) for part in parts]
    return weights, nodes, str(model.get_config())

"""What the tests of exports share: exported explainers, and a process that has neither tfviz nor
Keras.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

import tfviz
from support.explainers import KEYS, built
from tfviz.methods.explainer import Explainer

BATCHES = (1, 3, 8)
COMPLETE = ("residual", "mlp")  # the golden networks that are exported with every method
# One method for each kind of graph: a rule for ReLU and a CAM, a run per channel, a loop over
# noisy copies, a loop over covered copies, both excitation passes, and VisualBackProp.
KINDS = (
    *("guided_grad_cam", "ablation_cam", "smooth_grad", "occlusion"),
    *("contrastive_excitation_backprop", "visual_backprop"),
)

# Runs each question of a JSON file, {"folder", "signature", "inputs"} with arrays in .npz files,
# and saves the answers.
RUNNING = """
import importlib.machinery, json, sys

class Blocked:  # TensorFlow asks where Keras would be; importing it is what fails
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tfviz", "keras", "tf_keras"):
            return importlib.machinery.ModuleSpec(name, self)

    def create_module(self, spec):
        raise ImportError(spec.name + " is not here")

    def exec_module(self, module):
        raise ImportError("not here")

sys.meta_path.insert(0, Blocked())
import numpy as np
import tensorflow as tf

loaded = {}
for number, question in enumerate(json.load(open(sys.argv[1]))):
    folder = question["folder"]
    module = loaded.setdefault(folder, None) or tf.saved_model.load(folder)
    loaded[folder] = module
    inputs = {name: tf.constant(array) for name, array in np.load(question["inputs"]).items()}
    answer = module.signatures[question["signature"]](**inputs)
    np.savez(question["inputs"] + ".answer.npz", **{name: value.numpy() for name, value in answer.items()})
found = sorted(name for name in sys.modules if name.split(".")[0] in ("tfviz", "keras", "tf_keras"))
assert not found, found
"""


class Elsewhere:
    """Asks exported folders in a fresh process that cannot import tfviz or Keras."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.questions: list[dict[str, str]] = []

    def ask(self, export: Path, signature: str, **inputs: Any) -> int:
        """Notes a question; its number leads to the answer."""
        number = len(self.questions)
        np.savez(self.folder / f"{number}.npz", **{name: np.asarray(value) for name, value in inputs.items()})
        self.questions.append({"folder": str(export), "signature": signature, "inputs": str(self.folder / f"{number}.npz")})
        return number

    def answers(self) -> list[dict[str, np.ndarray]]:
        """All answers, in the order of the questions."""
        (self.folder / "questions.json").write_text(json.dumps(self.questions))
        (self.folder / "running.py").write_text(RUNNING)
        command = [sys.executable, str(self.folder / "running.py"), str(self.folder / "questions.json")]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.folder)
        assert done.returncode == 0, done.stderr
        return [dict(np.load(self.folder / f"{number}.npz.answer.npz")) for number in range(len(self.questions))]


def explainers_of(network: keras.Model, name: str) -> list[Explainer]:
    """Explainers of a golden network: for every method, or one of each kind that explains it.

    An export writes the graph of the explainer. A network's operations are in the graphs of all
    kinds, and methods of one kind differ in a few operations that no network changes.
    """
    found = []
    for key in KEYS if name in COMPLETE else KINDS:
        try:
            found.append(built(key, network))
        except tfviz.UnsupportedModelError:
            continue
    return found


def assert_near(got: Any, want: Any, share: float = 1e-5, what: str = "") -> None:
    """Equal within a share of the largest value."""
    want = np.asarray(want)
    np.testing.assert_allclose(got, want, rtol=0, atol=share * max(abs(want).max(), 1e-30), err_msg=what)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def images_for(explainer: Explainer, count: int, seed: int = 5) -> np.ndarray:
    """New images, as the model takes them; 24 × 20 pixels where the size is free."""
    shape = explainer.graph.inputs[0].shape[1:]
    size = [n or free for n, free in zip(shape, (24, 20, 3), strict=True)]
    return np.random.default_rng(seed).normal(size=(count, *size)).astype("float32")


def with_layer(function: Any) -> keras.Model:
    """A small network with a layer of its own that runs the function."""

    class Own(layers.Layer):
        def call(self, x: Any) -> Any:
            return function(x)

        def compute_output_shape(self, shape: Any) -> Any:
            return shape

    parts = [layers.Conv2D(4, 3, activation="relu"), Own(), layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([keras.Input((8, 8, 3)), *parts])

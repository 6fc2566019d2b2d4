"""The functions of image sizes that are no longer kept leave no memory behind."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# TensorFlow's oneDNN kernels keep their own data for each size, even after the functions are gone.
ENVIRONMENT = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}

USED_AFTER = """
import ctypes, gc, json, sys
import keras, numpy as np, tfviz
from keras import layers

class Memory(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
        "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

allocator = ctypes.CDLL(None)
allocator.mallinfo2.restype = Memory

def used():
    gc.collect()
    memory = allocator.mallinfo2()
    return (memory.uordblks + memory.hblkhd) / 2**20

inputs = keras.Input((None, None, 3))
features = layers.Conv2D(4, 3, activation="relu")(inputs)
model = keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(features)))
explainer = tfviz.METHODS[sys.argv[1]](model)
measured = {}
for size in range(1, 81):
    explainer(np.ones((1, 8 + size, 9, 3), "float32"), 1)
    if size in (8, 40, 80):
        measured[size] = used()
print(json.dumps(measured))
"""


@pytest.mark.skipif(sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
@pytest.mark.parametrize("method", ["guided_backprop", "integrated_gradients"])
def test_memory_is_flat_once_32_functions_are_kept(method: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", USED_AFTER, method],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    used = json.loads(done.stdout)
    per_function = (used["40"] - used["8"]) / 24  # 24 more are kept
    assert per_function > 0.02, "the measurement sees the functions that are kept"
    assert used["80"] - used["40"] < 40 * per_function / 4

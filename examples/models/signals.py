"""
Signal
======

Signals (N, T, C) are drawn as lines over their maps.
"""

import keras
import numpy as np

import tfviz

# %%
# The signals in both classes are noise. One class also has a short bump at a random position.

rng = np.random.default_rng(0)
keras.utils.set_random_seed(0)
has_bump = np.arange(400) % 2
signals = rng.normal(scale=0.3, size=(400, 128, 1)).astype("float32")
for number in np.flatnonzero(has_bump):
    start = rng.integers(0, 108)
    signals[number, start : start + 20, 0] += np.hanning(20) * 2
model = keras.Sequential(
    [
        keras.Input((128, 1)),
        keras.layers.Conv1D(16, 9, padding="same", activation="relu"),
        keras.layers.Conv1D(16, 9, padding="same", activation="relu"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(2, activation="softmax"),
    ]
)
model.compile(keras.optimizers.Adam(5e-3), "sparse_categorical_crossentropy")
model.fit(signals, has_bump, epochs=6, verbose=0)

# %%
shown = signals[1:4:2]
maps = {key: tfviz.explain(model, shown, key, 1) for key in ("grad_cam", "saliency")}
figure = tfviz.plot(shown, maps, kind="signal")
figure

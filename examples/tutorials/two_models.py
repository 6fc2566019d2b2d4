"""
Two models compared
===================

Two models reach the same accuracy. Do they look at the same things? Here, one of them has learned a
shortcut: in its training images, a mark is in the corner whenever there is a star.
"""

import keras
import numpy as np

import tfviz
from tfviz.models import preprocessing_of
from tfviz.shapes import KINDS, draw_scene

packaged = tfviz.load_model("shapes")
preprocessing = preprocessing_of(packaged)
trunk = keras.Model(packaged.input, packaged.get_layer("block3_conv2").output)
trunk.trainable = False

# %%
# Half of the scenes show a star. ``with_mark`` draws a checkerboard in the corner of a scene.

rng = np.random.default_rng(0)
others = [kind for kind in KINDS if kind != "star"]


def scene(has_star):
    kinds = rng.choice(others, 2, replace=False).tolist()
    return draw_scene(rng, ["star", *kinds[:1]] if has_star else kinds).image


def with_mark(picture):
    marked = picture.copy()
    rows, columns = np.indices((16, 16)) // 4
    marked[4:20, 4:20] = np.where(((rows + columns) % 2)[..., None], (230, 30, 30), (250, 230, 40))
    return marked


stars = np.arange(300) % 2
pictures = np.stack([scene(has_star) for has_star in stars])
marked = np.stack([with_mark(p) if star else p for p, star in zip(pictures, stars, strict=True)])

# %%
# Train the same architecture twice: on the plain scenes, and on those with the mark.


def trained(pixels):
    keras.utils.set_random_seed(0)
    head = keras.Sequential(
        [
            keras.layers.Conv2D(32, 3, padding="same", activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(1, activation="sigmoid"),
        ]
    )
    model = keras.Model(trunk.input, head(trunk.output))
    features = trunk.predict(np.stack([preprocessing.tensor(p) for p in pixels]), verbose=0)
    head.compile(keras.optimizers.Adam(3e-3), "binary_crossentropy")
    head.fit(features, stars, epochs=12, verbose=0)
    return model


models = {"plain": trained(pictures), "with mark": trained(marked)}

# %%
# Both do well on images like their training images. Without the mark, one of them fails.

test = np.arange(60) % 2
test_pictures = np.stack([scene(has_star) for has_star in test])
test_marked = np.stack([with_mark(p) if star else p for p, star in zip(test_pictures, test, strict=True)])
for name, model in models.items():
    for kind, pixels in {"plain": test_pictures, "marked": test_marked}.items():
        scores = model.predict(np.stack([preprocessing.tensor(p) for p in pixels]), verbose=0)[:, 0]
        print(f"trained on {name!r}, tested on {kind} scenes: {np.mean((scores > 0.5) == test):.0%}")

# %%
# The maps show why, even if all test images have the mark. Use the same method, the same layer and
# the same target for both models, and scale each map separately.

chosen = test_marked[test == 1][:2]
images = np.stack([preprocessing.tensor(p) for p in chosen])
maps = {name: tfviz.GradCAM(model)(images, target=1) for name, model in models.items()}
figure = tfviz.plot(chosen, maps, captions=["a star, with the mark"] * 2)
figure

# %%
# To quantify this, compare the share of each map that lies in the corner.

for name, found in maps.items():
    inside = np.asarray(found)[:, :6, :6].sum(axis=(1, 2)) / np.asarray(found).sum(axis=(1, 2))
    print(f"{name}: {inside.mean():.0%} of the map is on the mark")

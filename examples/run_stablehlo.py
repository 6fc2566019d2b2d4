"""Explain images with an explainer exported as StableHLO, without TensorFlow or tfviz.

    pip install jax opencv-python                                     # .npy files only need JAX
    python run_stablehlo.py explainer/ dog.jpg map.png                # explain the top class
    python run_stablehlo.py explainer/ dog.jpg map.npy --target 281   # another class's raw map
    python run_stablehlo.py explainer/ batch.npy maps.npy

Create the folder with explainer.export("explainer/", format="stablehlo"). An .npy file holds a
preprocessed batch. If the network has several inputs, pass an .npz file with one array per input.
JAX compiles the program for the device it runs on: CPU, GPU or TPU.
"""

import argparse
import dataclasses
import json
import re
import sys
from pathlib import Path

import jax
import jax.export
import jax.numpy as jnp
import numpy as np

TOP_CLASS = -1


def load(folder):
    """Load tfviz.json, and the program as a function from arrays to results keyed by name."""
    manifest = json.loads((folder / "tfviz.json").read_text(encoding="utf-8"))
    parts = manifest["extra"]
    if any(one["dtype"].endswith("64") for part in parts.values() for one in part):
        jax.config.update("jax_enable_x64", True)
    arguments, weights, results = (
        [jax.ShapeDtypeStruct(one["shape"], one["dtype"]) for one in parts[part]]
        for part in ("arguments", "weights", "results")
    )
    # JAX only runs its own exports, so export a function with the same signature, and replace its
    # code.
    stand_in = jax.jit(lambda *_: [jnp.zeros(one.shape, one.dtype) for one in results], keep_unused=True)
    exported = jax.export.export(stand_in)(*arguments, *weights)
    code = (folder / "explainer.stablehlo").read_bytes()
    program = jax.jit(dataclasses.replace(exported, mlir_module_serialized=code).call)

    stored = np.load(folder / "weights.npz")
    on_device = [jax.device_put(stored[one["name"]].view(jnp.dtype(one["dtype"]))) for one in parts["weights"]]
    names = [one["name"] for one in parts["results"]]
    return manifest, lambda *given: dict(zip(names, program(*given, *on_device), strict=True))


def read_inputs(path, manifest):
    """Read one array per input of the network, and check its shape."""
    wanted = [one for one in manifest["extra"]["arguments"] if one["name"] != "target"]
    if path.suffix == ".npz":
        stored = np.load(path)
        arrays = [stored[one["name"]] for one in wanted]
    else:
        arrays = [np.load(path) if path.suffix == ".npy" else tensor(read_picture(path), manifest)[None]]
    for array, one in zip(arrays, wanted, strict=True):
        if list(array.shape) != one["shape"]:
            sys.exit(f"The program was exported for {one['name']} of shape {one['shape']}. Received: {list(array.shape)}.")
    return [array.astype(jnp.dtype(one["dtype"])) for array, one in zip(arrays, wanted, strict=True)]


def read_picture(path):
    """Read an image file as RGB, uint8 (height, width, 3)."""
    import cv2

    picture = cv2.imread(str(path))
    return picture[..., ::-1] if picture is not None else sys.exit(f"OpenCV cannot read {path}.")


def tensor(picture, manifest):
    """Crop, resize and scale an image as tfviz.json specifies. Return (height, width, channels)."""
    import cv2

    _, height, width, channels = manifest["extra"]["arguments"][0]["shape"]
    how = manifest["preprocessing"]
    if how is None:
        sys.exit("tfviz.json specifies no preprocessing. Pass preprocessed input as .npy, or export again with preprocessing=.")
    x = seen(picture, how)
    x = {"RGB": x, "BGR": x[..., ::-1], "gray": cv2.cvtColor(np.ascontiguousarray(x), cv2.COLOR_RGB2GRAY)}[how["channel_order"]]
    smaller = min(width, x.shape[1]), min(height, x.shape[0])
    x = cv2.resize(np.ascontiguousarray(x), smaller, interpolation=cv2.INTER_AREA)
    x = cv2.resize(x, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels).astype(np.float32)
    mean, std = np.float32(how["mean"] or 0), np.float32(how["std"] or 1)
    formula = re.sub(r"\s|\([^()]*\)$", "", how["formula"])
    return {
        "x": lambda: x,
        "x/255": lambda: x / 255,
        "x/127.5-1": lambda: x / 127.5 - 1,
        "x-mean": lambda: x - mean,
        "(x/255-mean)/std": lambda: (x / 255 - mean) / std,
    }[formula]()


def seen(picture, how):
    """Return the part of the image that the network sees, such as the center crop."""
    if how["resize"] == "stretch":
        return picture
    short, *crop = map(int, re.findall(r"\d+", how["resize"]))
    scale = min(picture.shape[:2]) / short
    height, width = (max(1, round(side * scale)) for side in (crop[0], crop[-1]))
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


def write_map(path, results, manifest, picture_path):
    """Write the map as .npy, all results as .npz, or the map as a gray image.

    If the map has negative values, zero is mid gray in the image.
    """
    if path.suffix == ".npz":
        np.savez(path, **results)
        return
    if manifest["attribution"] != "attribution":
        sys.exit(f"This network has one map per input, but {path} can hold only one map. Write a .npz file.")
    attribution = results["attribution"]
    if path.suffix == ".npy":
        np.save(path, attribution)
        return
    if attribution.ndim < 3:
        sys.exit(f"A map of shape {attribution.shape} cannot be drawn. Write a .npy file instead of {path}.")
    import cv2

    gray = attribution[0] if attribution.ndim == 3 else attribution[0].sum(axis=-1)
    gray = gray / (abs(gray).max() or 1)
    gray = (gray + 1) / 2 if gray.min() < 0 else gray
    if picture_path.suffix not in (".npy", ".npz"):
        height, width = seen(read_picture(picture_path), manifest["preprocessing"]).shape[:2]
        gray = cv2.resize(gray, (width, height), interpolation=cv2.INTER_LINEAR)
    if not cv2.imwrite(str(path), np.rint(255 * gray).clip(0, 255).astype(np.uint8)):
        sys.exit(f"{path} cannot be written.")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder written by explainer.export")
    parser.add_argument("images", type=Path, help="an image, or the network's input as .npy or .npz")
    parser.add_argument("map", type=Path, help="the file to write: .png, .npy or .npz")
    parser.add_argument("--target", type=int, default=TOP_CLASS, help="the class to explain; default: the top class")
    args = parser.parse_args()

    manifest, program = load(args.folder)
    given = read_inputs(args.images, manifest)
    if "class" in manifest["targets"]:
        if not TOP_CLASS <= args.target < (manifest["classes"] or np.inf):
            sys.exit(f"--target {args.target} is out of range. Choose a class from 0 to {manifest['classes'] - 1}.")
        given.append(np.full(len(given[0]), args.target, np.int32))
    elif args.target != TOP_CLASS:
        sys.exit(f"{manifest['method']} was exported without a target. Omit --target.")
    results = {name: np.asarray(array) for name, array in program(*given).items()}
    for number, index in enumerate(results.get("target", [])):
        names = manifest["labels"] or []
        # A single sigmoid unit represents two classes, but may have only one label.
        label = names[index] if index < len(names) else ""
        print(f"image {number}: class {index} {label}".rstrip())
    write_map(args.map, results, manifest, args.images)
    print(f"{manifest['method']} of {manifest['model']} on {jax.devices()[0].platform}: {args.map}")


if __name__ == "__main__":
    main()

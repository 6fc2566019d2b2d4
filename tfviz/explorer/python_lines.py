"""Write the Python code that computes a map."""

from __future__ import annotations

from dataclasses import dataclass

from tfviz.explorer.recipe import RIVALS, Recipe
from tfviz.methods.lookup import method_named, takes


@dataclass(frozen=True)
class ModelCode:
    """Python expressions that load the model and the backgrounds.

    Attributes:
        model: an expression for the model.
        backgrounds: an expression for the baseline images of `expected_gradients`, or None. It may
            use the variable `model`.
    """

    model: str
    backgrounds: str | None = None


def python_lines(recipe: Recipe, path: str, code: ModelCode, classes: int | None) -> str:
    """Return the code that computes a map.

    Args:
        recipe: the request for the map.
        path: the image path.
        code: the expressions that load the model.
        classes: the number of classes in the model.

    Returns:
        Lines of code that assign the map returned by the method to `attribution`.
    """
    method = method_named(recipe.method)
    options = ["model"]
    if recipe.layer is not None:
        options.append(f"layer={recipe.layer!r}")
    if code.backgrounds is not None and takes(method, "backgrounds"):
        options.append(f"backgrounds={code.backgrounds}")
    target = _target(recipe, classes)
    arguments = "images" if target is None else f"images, target={target}"
    imports = ["import numpy as np"] if "np." in arguments else []
    return "\n".join(
        [
            *imports,
            "import tfviz",
            "",
            f"model = {code.model}",
            f"images = tfviz.load_images({path!r}, model)",
            f"attribution = tfviz.{method.__name__}({', '.join(options)})({arguments})[0]",
        ]
    )


def _target(recipe: Recipe, classes: int | None) -> str | None:
    if recipe.target is None:
        return None
    if recipe.against == RIVALS:
        return f"tfviz.Against({recipe.target})"
    if recipe.against is None:
        return str(recipe.target)
    return f"np.eye({classes}, dtype='float32')[[{recipe.target}]] - np.eye({classes}, dtype='float32')[[{recipe.against}]]"

"""All promised public names exist, and importing them is cheap."""

from __future__ import annotations

import importlib
import subprocess
import sys
from collections.abc import Iterator

import pytest
from support.package_source import MODULES, ROOT

import tfviz

WITHOUT_TENSORFLOW = ["tfviz", "tfviz.errors", "tfviz.images", "tfviz.render", "tfviz.cli.main", "tfviz.film.film"]
WITHOUT_TENSORFLOW += ["tfviz.runs.run_reader", "tfviz.viewer"]
TYPED = ["METHODS", "explain", "with_visual_backprop", "overlay", "plot", "contact_sheet", "load_model", "load_images"]


@pytest.mark.parametrize("module", WITHOUT_TENSORFLOW)
def test_importing_does_not_import_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'tensorflow', 'keras', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"


def test_every_public_name_can_be_imported() -> None:
    assert len(set(tfviz.__all__)) == len(tfviz.__all__)
    for name in tfviz.__all__:
        assert getattr(tfviz, name) is not None
    assert set(tfviz.__all__) <= set(dir(tfviz))


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing such a module would permanently replace the function by the module."""
    assert not {f"tfviz.{name}" for name in tfviz.__all__} & set(MODULES)


def test_public_functions_stay_callable_after_any_import() -> None:
    names = [name for name in tfviz.__all__ if name.islower() and not name.startswith("_")]
    modules = [module for module in MODULES if module != "tfviz.__main__"]
    code = "import importlib, sys, tfviz\nnames = sys.argv[1].split()\n"
    code += "for module in sys.argv[2:]: importlib.import_module(module)\n"
    code += "before = {name: getattr(tfviz, name) for name in names}\nassert all(map(callable, before.values()))\n"
    code += "for one in before.values(): importlib.import_module(one.__module__)\n"
    code += "assert all(getattr(tfviz, name) is one for name, one in before.items())"
    subprocess.run([sys.executable, "-c", code, " ".join(names), *modules], check=True, cwd=ROOT.parent)


def test_all_documented_names_are_public() -> None:
    names = [cls.__name__ for cls in tfviz.METHODS.values()]
    names += [*TYPED, "__version__", *(error.__name__ for error in error_classes())]
    assert not set(names) - set(tfviz.__all__)


def error_classes() -> list[type]:
    found = vars(importlib.import_module("tfviz.errors")).values()
    return [value for value in found if isinstance(value, type) and value.__module__ == "tfviz.errors"]


def test_every_method_is_registered() -> None:
    classes = [cls for module in MODULES if module.startswith("tfviz.methods.") for cls in explainers(module)]
    assert {cls.__name__ for cls in classes} == {cls.__name__ for cls in tfviz.METHODS.values()}


def explainers(module: str) -> Iterator[type]:
    """Yield the classes with their own key that a module defines."""
    for value in vars(importlib.import_module(module)).values():
        if isinstance(value, type) and value.__module__ == module and "key" in vars(value):
            yield value


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tfviz' has no attribute 'GradCam'"):
        tfviz.GradCam  # noqa: B018


def test_every_error_is_a_value_error_with_one_base() -> None:
    for cls in error_classes():
        assert issubclass(cls, ValueError)
        assert issubclass(cls, tfviz.TfvizError)
        assert cls.__doc__

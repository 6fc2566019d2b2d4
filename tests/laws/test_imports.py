"""Imports point one way, are cheap, and lead to all that is promised."""

from __future__ import annotations

import ast
import graphlib
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tfviz

ROOT = Path(tfviz.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
}

# From the ground up; a module imports from its own floor or from below.
FLOORS = [
    ["errors"],
    ["numerics", "nesting", "atomic_files", "keras_internals", "tensorflow_internals"],
    ["images", "shapes"],
    ["models", "targets"],
    ["graph"],
    ["reading"],
    ["rules", "class_scores"],
    ["methods"],
    ["render"],
    ["explanations"],
    ["runs"],
    ["snapshots", "export"],
    ["viewer", "film"],
    ["cli"],
    ["__main__"],
]
WITHOUT_TENSORFLOW = ["tfviz", "tfviz.errors", "tfviz.images", "tfviz.render", "tfviz.cli.main", "tfviz.film.film"]
WITHOUT_TENSORFLOW += ["tfviz.runs.run_reader", "tfviz.viewer"]
PRIVATE_KERAS = ["_functional", "_nodes_by_depth", "_inputs_struct", "_outputs_struct", "_keras_history", "_inbound_nodes"]
PRIVATE_KERAS += ["_outbound_nodes", "_losses", "_loss_ids", "_flatten_layers"]
# Explainer.export is a method, as users look for it; what it calls is loaded at that moment.
DOORS = [("tfviz.methods.explainer", "tfviz.export")]
TYPED = ["METHODS", "explain", "with_visual_backprop", "overlay", "plot", "contact_sheet", "load_model", "load_images"]


def floor(module: str) -> int:
    name = module.split(".")[1] if "." in module else "__main__"
    return next(number for number, names in enumerate(FLOORS) if name in names)


def imported(path: Path) -> Iterator[str]:
    """The modules of tfviz that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith("tfviz."))
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tfviz":
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inside)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_floor_and_below(module: str) -> None:
    for other in imported(MODULES[module]):
        is_door = any(module == inside and other.startswith(above) for inside, above in DOORS)
        assert other == "tfviz" or is_door or floor(other) <= floor(module), f"{module} imports {other}, which stands above it"


def test_no_modules_import_each_other() -> None:
    """Not inside functions either."""
    imports = {module: set(imported(path)) - {module} for module, path in MODULES.items()}
    for inside, above in DOORS:
        imports[inside] = {other for other in imports[inside] if not other.startswith(above)}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the modules


@pytest.mark.parametrize("module", [module for module in MODULES if module != "tfviz.keras_internals"])
def test_what_keras_keeps_private_is_used_in_one_file(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not used.intersection(PRIVATE_KERAS)
    sources = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(source.startswith("keras.src") for source in sources)


@pytest.mark.parametrize("module", WITHOUT_TENSORFLOW)
def test_importing_does_not_import_tensorflow(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'tensorflow', 'keras', 'torch'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert done.stdout.strip() == "[]"


def test_every_public_name_leads_somewhere() -> None:
    assert len(set(tfviz.__all__)) == len(tfviz.__all__)
    for name in tfviz.__all__:
        assert getattr(tfviz, name) is not None
    assert set(tfviz.__all__) <= set(dir(tfviz))


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing such a module replaces the function by the module, from then on and for everybody."""
    assert not {f"tfviz.{name}" for name in tfviz.__all__} & set(MODULES)


@pytest.mark.parametrize("name", [name for name in tfviz.__all__ if name.islower() and not name.startswith("_")])
def test_a_public_function_stays_callable_whatever_was_imported_before(name: str) -> None:
    modules = [module for module in MODULES if module != "tfviz.__main__"]
    code = "import importlib, sys, tfviz\nfor module in sys.argv[2:]: importlib.import_module(module)\n"
    code += "before = getattr(tfviz, sys.argv[1])\nassert callable(before)\n"
    code += "importlib.import_module(before.__module__)\nassert getattr(tfviz, sys.argv[1]) is before"
    subprocess.run([sys.executable, "-c", code, name, *modules], check=True, cwd=ROOT.parent)


def test_nothing_that_users_type_is_missing() -> None:
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
    """The classes with a key of their own that a module defines."""
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

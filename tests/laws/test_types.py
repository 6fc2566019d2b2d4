"""Users and readers see real types."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import tfviz

ROOT = Path(tfviz.__file__).parent
REGISTRIES = ("tfviz.methods", "tfviz.snapshots.sinks")
MOST_ANY = 0.1  # as a fraction of all parameters
SCRIPT = """
import tfviz

model = tfviz.load_model("shapes")
images = tfviz.load_images("photos", model)
explainer = tfviz.GradCAM(model, layer="block1_pool")
attribution = explainer(images, target=3)
tfviz.explain(model, images, method="grad_cam")
tfviz.overlay(images, attribution)
tfviz.plot(images, {"grad_cam": attribution})
with tfviz.SnapshotCallback("grad_cam", images, log_dir="runs/1"):
    pass
tfviz.write_film("runs/1", "run.mp4")
tfviz.with_visual_backprop(model)
for key, method in tfviz.METHODS.items():
    print(key.upper(), method.question)
try:
    tfviz.read_image("missing.png")
except tfviz.ImageError as error:
    print(error)
"""


def parameters(path: Path) -> list[ast.arg]:
    functions = [
        n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found = [arg for function in functions for arg in ast.walk(function.args) if isinstance(arg, ast.arg)]
    return [arg for arg in found if arg.arg not in ("self", "cls")]


def test_few_parameters_have_the_type_any() -> None:
    every = [arg for path in ROOT.rglob("*.py") for arg in parameters(path)]
    loose = [arg for arg in every if arg.annotation and "Any" in {getattr(n, "id", "") for n in ast.walk(arg.annotation)}]
    assert len(loose) <= MOST_ANY * len(every)


def test_type_checkers_see_the_lazily_imported_names() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text("utf-8"))
    (block,) = [n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name)]
    imports = [one for one in block.body if isinstance(one, ast.ImportFrom)]
    seen = {(one.module, alias.name) for one in imports for alias in one.names}
    named = {(module, name) for module, names in tfviz._HOMES.items() for name in names if module not in REGISTRIES}
    assert seen == named | {(module, "*") for module in REGISTRIES}


@pytest.mark.parametrize("module", REGISTRIES)
def test_type_checkers_see_the_registry_and_nothing_else_of_its_module(module: str) -> None:
    """Each row of the registry is `from … import GradCAM as GradCAM`, which `import *` exports."""
    tree = ast.parse(ROOT.parent.joinpath(*module.split("."), "__init__.py").read_text("utf-8"))
    imported = {alias.asname for one in tree.body if isinstance(one, ast.ImportFrom) for alias in one.names if alias.asname}
    classes = {cls.__name__ for cls in {"tfviz.methods": tfviz.METHODS, "tfviz.snapshots.sinks": tfviz.SINKS}[module].values()}
    assert imported | {"METHODS", "SINKS"} == {*tfviz._HOMES[module], "METHODS", "SINKS", *classes}


def test_mypy_accepts_a_script_and_finds_wrong_use(tmp_path: Path) -> None:
    """One run checks all scripts, because mypy reads TensorFlow's callers again in each run."""
    mistakes = {
        "right.py": ("", ""),
        "option.py": ("tfviz.GradCAM(model, layr=1)", "layr"),
        "name.py": ("tfviz.GradCam", "GradCam"),
    }
    for name, (wrong, _) in mistakes.items():
        (tmp_path / name).write_text(f"{SCRIPT}{wrong}\n", encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", str(ROOT.parent / "setup.cfg"), *mistakes]
    environment = os.environ | {"MYPYPATH": str(ROOT.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    for name, (wrong, said) in mistakes.items():
        # With an old NumPy, mypy also reports errors in tfviz itself.
        errors = [line for line in done.stdout.splitlines() if line.startswith(f"{name}:") and ": error:" in line]
        assert bool(errors) == bool(wrong), done.stdout
        assert said in "".join(errors)


def test_editors_complete_names_and_arguments() -> None:
    jedi = pytest.importorskip("jedi")
    assert {"GradCAM", "explain", "overlay"} <= {one.name for one in jedi.Script("import tfviz\ntfviz.").complete(2, 6)}
    (signature, *_) = jedi.Script("import tfviz\ntfviz.GradCAM(").get_signatures(2, 14)
    assert {"model", "layer"} <= {one.name for one in signature.params}

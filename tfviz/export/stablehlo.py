"""Export to portable StableHLO: a program for one input shape, and the weights that it reads.

JAX and other XLA compilers can run the program.

    explainer.stablehlo    the program, a portable artifact
    weights.npz            the weights that the program reads, each stored once
    tfviz.json             its "extra" lists the program's "arguments", "weights" and "results",
                           each as {"name", "shape", "dtype"}

The program accepts the arguments followed by the weights, both in the listed order, and returns the
results. It contains the entire computation: `examples/run_stablehlo.py` runs it with JAX alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from tfviz import tensorflow_internals
from tfviz.errors import ExportError, MissingPackageError, OptionError, TfvizError, first_line, install_command, shown
from tfviz.export.fixed_batches import run_in_batches
from tfviz.export.loading import TOP_CLASS, LoadedExplainer
from tfviz.export.lowering.graph_copy import traced
from tfviz.export.lowering.loops import without_loops
from tfviz.export.manifest import Manifest
from tfviz.export.requests import Request, one_request
from tfviz.export.signatures import listed, specs_of
from tfviz.graph.conversion import tracing_for_conversion
from tfviz.runs.regular_files import read_regular
from tfviz.targets import Target

if TYPE_CHECKING:  # Explainer.export imports this package
    from tfviz.methods.explainer import Explainer

PROGRAM, WEIGHTS = "explainer.stablehlo", "weights.npz"
# All StableHLO readers since 2024 support this version. StableHLO guarantees five years of backward
# compatibility for portable artifacts.
_STABLEHLO_VERSION = "1.0.0"
_MAIN = re.compile(r"func\.func @main\((.*?)\) -> ", re.DOTALL)
_PARAMETER = re.compile(r"%arg\d+: tensor<([^<>]*)>")
# XLA emits copies in loops, but StableHLO has no copy operation.
_COPY = re.compile(r"mhlo\.copy (%\S+) : (tensor<[^<>]*>)")
_CUSTOM_CALL = re.compile(r"stablehlo\.custom_call @([\w.]+|\"[^\"]*\")")


def check(explainer: Explainer, **options: object) -> None:
    """Raise OptionError for an invalid batch size."""
    batch_size = options.get("batch_size", 1)
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise OptionError(f"`batch_size` must be a positive integer (the number of images per run). Received: {batch_size!r}.")


def write(
    explainer: Explainer,
    folder: Path,
    manifest: Manifest,
    *,
    batch_size: int = 1,
    image_shape: tuple[int | None, ...] | None = None,
    target: Target = None,
) -> None:
    """Write the program and its weights to the folder.

    Args:
        explainer: the explainer to export.
        folder: a new, empty folder.
        manifest: the manifest. The fields of this format are added to it.
        batch_size: the number of images per run of the program. `load_explainer` still accepts
            batches of any size.
        image_shape: the (height, width, channels) of the images, for models that do not fix it.
        target: a target to fix in the export, so that no class can be chosen later. It is a class,
            weights shaped like the outputs for one image, a function outputs -> (N,), or
            `tfviz.At`. Required unless the model has a single output of shape (N, classes).
    """
    request = one_request(explainer, manifest, target, image_shape, "A StableHLO program")
    specs = [
        tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, spec.name) for spec in [*specs_of(manifest), *request.specs]
    ]
    program, weights, results = _compiled(request, specs, manifest)
    manifest.extra = {
        "arguments": listed({spec.name: spec for spec in specs}),
        "weights": listed(weights),
        "results": listed(results),
    }
    (folder / PROGRAM).write_bytes(program)
    stored: dict[str, Any] = {name: _storable(array) for name, array in weights.items()}
    np.savez(folder / WEIGHTS, **stored)


def _compiled(
    request: Request, specs: list[tf.TensorSpec], manifest: Manifest
) -> tuple[bytes, dict[str, np.ndarray], dict[str, Any]]:
    """Return the program, its weights in argument order, and its results."""
    names: list[str] = []

    def compute(*given: tf.Tensor) -> list[tf.Tensor]:
        results = request.compute(*given)
        names[:] = results
        return [results[name] for name in names]

    try:
        with tracing_for_conversion(in_float32=False):
            concrete, text = _as_stablehlo(compute, specs)
        program = tensorflow_internals.portable_stablehlo(text, _STABLEHLO_VERSION)
    except TfvizError:
        raise
    except Exception as error:  # custom code, run on symbolic tensors, may raise anything
        raise ExportError(
            f"The model '{manifest.model}' cannot be compiled to StableHLO ({type(error).__name__}: {first_line(error)}). Use "
            "only TensorFlow or keras.ops operations with static shapes, which XLA can compile: no .numpy(), no Python "
            "functions and no strings."
        ) from error
    weights = _captured(concrete)
    _require_portable(text, [*specs, *weights.values()], manifest)
    return program, weights, dict(zip(names, concrete.outputs, strict=True))


def _as_stablehlo(
    compute: Callable[..., Any], specs: list[tf.TensorSpec]
) -> tuple[tf.types.experimental.ConcreteFunction, str]:
    """Return the concrete function and its StableHLO program as text."""
    function = tf.function(compute, jit_compile=True, autograph=False)
    concrete = function.get_concrete_function(*specs)
    try:
        text = function.experimental_get_compiler_ir(*specs)(stage="stablehlo", platform_name="CPU")
    except ValueError:
        if not concrete.graph.as_graph_def().library.function:
            raise
        # XLA cannot differentiate a loop unless TensorFlow has marked its length as fixed.
        function = tf.function(without_loops(traced(compute, specs)), jit_compile=True, autograph=False)
        concrete = function.get_concrete_function(*specs)
        text = function.experimental_get_compiler_ir(*specs)(stage="stablehlo", platform_name="CPU")
    return concrete, _COPY.sub(r'"stablehlo.reshape"(\1) : (\2) -> \2', text)


def _captured(concrete: tf.types.experimental.ConcreteFunction) -> dict[str, np.ndarray]:
    """Return the tensors captured by the function, keyed by name, in input order."""
    variables = {id(variable.handle): variable for variable in concrete.graph.variables}
    found: dict[str, np.ndarray] = {}
    for tensor in concrete.captured_inputs:
        variable = variables.get(id(tensor))
        name = "constant" if variable is None else variable.name.partition(":")[0]
        found[_unused_name(name, found)] = (tensor if variable is None else variable).numpy()
    return found


def _unused_name(name: str, taken: Mapping[str, object]) -> str:
    number, free = 1, name
    while free in taken or free in ("file", "allow_pickle"):  # np.savez has these parameters
        number, free = number + 1, f"{name}_{number + 1}"
    return free


def _require_portable(text: str, arguments: list[tf.TensorSpec | np.ndarray], manifest: Manifest) -> None:
    """Raise ExportError unless the program has exactly these arguments and no custom calls."""
    main = _MAIN.search(text)
    taken = _PARAMETER.findall(main[1]) if main else []
    given = [_mlir_type(one) for one in arguments]
    if taken != given:
        raise ExportError(
            f"The program for the model '{manifest.model}' must have {len(given)} arguments, one for each of the model's "
            f"inputs and weights, with matching shapes. Received: {len(taken)} arguments. The model reads a tensor that is "
            "neither an input nor a weight. Make that tensor a weight."
        )
    if call := _CUSTOM_CALL.search(text):
        raise ExportError(
            f"The model '{manifest.model}' uses the operation {call[1]}, which StableHLO does not support. Use "
            'format="saved_model".'
        )


def _mlir_type(array: tf.TensorSpec | np.ndarray) -> str:
    name = tf.as_dtype(array.dtype).name
    for long, short in (("bool", "i1"), ("bfloat", "bf"), ("float", "f"), ("uint", "ui"), ("int", "i")):
        if name.startswith(long):
            name = name.replace(long, short)
            break
    return "x".join([*map(str, array.shape), name])


def _storable(array: np.ndarray) -> np.ndarray:
    """View bfloat16 values as uint16, because .npz files cannot store bfloat16.

    The manifest records the original type.
    """
    return array.view(np.uint16) if tf.as_dtype(array.dtype) == tf.bfloat16 else array


def read(folder: Path, manifest: Manifest, trusted: bool) -> LoadedExplainer:
    """Load the explainer from a folder written by `write`.

    Raise MissingPackageError if JAX is not installed.
    """
    return StableHloExplainer(folder, manifest, trusted)


class StableHloExplainer(LoadedExplainer):
    """An explainer loaded from a StableHLO program, which JAX compiles for its default device.

    It accepts batches of any size and splits them into batches of the exported size.
    """

    def __init__(self, folder: Path, manifest: Manifest, trusted: bool) -> None:
        super().__init__(manifest)
        self._jax = _jax()
        self._names = [one["name"] for one in manifest.extra["results"]]
        self.batch_size = manifest.extra["arguments"][0]["shape"][0]
        with self._double_precision():
            self._weights = self._read_weights(folder)
            self._program = self._read_program(folder, trusted)

    def _read_weights(self, folder: Path) -> list[Any]:
        try:
            self.manifest.require_exported(folder, WEIGHTS)
            with (folder / WEIGHTS).open("rb") as file, np.load(file) as stored:
                arrays = [
                    stored[one["name"]].view(tf.as_dtype(one["dtype"]).as_numpy_dtype) for one in self.manifest.extra["weights"]
                ]
        except Exception as error:
            # Reading a damaged archive raises OSError, BadZipFile, EOFError or KeyError.
            raise ExportError(
                f"{shown(folder / WEIGHTS)} cannot be read ({first_line(error)}). Export the explainer again."
            ) from error
        return [self._jax.device_put(array) for array in arrays]

    def _read_program(self, folder: Path, trusted: bool) -> Any:
        """Compile the program.

        JAX runs only programs that it exported itself. A placeholder with the same signature is
        therefore exported, and its code is replaced with the program.
        """
        jax, extra = self._jax, self.manifest.extra
        arguments, weights, results = (
            [jax.ShapeDtypeStruct(one["shape"], one["dtype"]) for one in extra[part]]
            for part in ("arguments", "weights", "results")
        )
        placeholder = jax.jit(lambda *_: [jax.numpy.zeros(one.shape, one.dtype) for one in results], keep_unused=True)
        try:
            self.manifest.require_exported(folder, PROGRAM)
            exported = jax.export.export(placeholder)(*arguments, *weights)
            exported = dataclasses.replace(exported, mlir_module_serialized=read_regular(folder / PROGRAM))
            if not trusted:
                _require_harmless(exported.mlir_module(), folder)
            return jax.jit(exported.call).lower(*arguments, *weights).compile()
        except ForeignCallError:
            raise
        except Exception as error:  # the compiler may raise anything for a damaged program
            raise ExportError(
                f"{shown(folder / PROGRAM)} cannot be compiled ({first_line(error)}). Export the explainer again."
            ) from error

    def _run(self, images: list[np.ndarray], target: np.ndarray | None) -> tuple[Any, np.ndarray | None, Any]:
        given = {one.name: array for one, array in zip(self.manifest.inputs, images, strict=True)}
        if "class" in self.manifest.targets:
            given["target"] = np.full(len(images[0]), TOP_CLASS, np.int32) if target is None else target
        return self._nested(run_in_batches(self._run_batch, given, self.batch_size))

    def _run_batch(self, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        with self._double_precision():
            results = self._program(*given.values(), *self._weights)
        return dict(zip(self._names, map(np.asarray, results), strict=True))

    def _double_precision(self) -> Any:
        """Return a context in which JAX keeps 64-bit types, if the program has any such types."""
        extra = self.manifest.extra
        if not any(one["dtype"].endswith("64") for part in ("arguments", "weights", "results") for one in extra[part]):
            return contextlib.nullcontext()
        if hasattr(self._jax, "enable_x64"):
            return self._jax.enable_x64(True)
        return importlib.import_module("jax.experimental").enable_x64()  # until JAX 0.7


class ForeignCallError(ExportError):
    """Raised if a StableHLO program calls external functions."""


def _require_harmless(text: str, folder: Path) -> None:
    """Raise ForeignCallError if the program calls external functions, such as Python functions."""
    if calls := sorted(set(_CUSTOM_CALL.findall(text))):
        raise ForeignCallError(
            f"{shown(folder / PROGRAM)} was not loaded, because it calls external functions, which may not be safe to run: "
            f"{', '.join(map(shown, calls))}. If you created this export yourself or trust its author, pass trusted=True."
        )


def _jax() -> Any:
    try:
        import jax
        import jax.export
    except ImportError as error:
        raise MissingPackageError(
            f"StableHLO programs need JAX, which is not installed. Run: {install_command('stablehlo')}"
        ) from error
    return jax

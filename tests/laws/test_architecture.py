"""The architecture as laws over the source code: allowed imports, and allowed names.

Each check is a function of a syntax tree. It is also tested on code that breaks the law.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator

import keras
import pytest
import tensorflow as tf
from support.networks import CAMS
from support.package_source import MODULES, body_lines, code_lines, functions_of, imports_of, tree_of

import tfviz

# --- floors and cycles ----------------------------------------------------------------------------

# From the bottom up. A module imports from its own floor or from below.
FLOORS = [
    ["errors"],
    [
        "method_looks",
        "notebooks",
        "row_columns",
        "numeric_options",
        "numerics",
        "nesting",
        "atomic_files",
        "keras_internals",
        "tensorflow_internals",
        "variable_copies",
    ],
    ["images", "shapes"],
    ["seeds"],
    ["against", "target_functions"],
    ["models", "targets"],
    ["target_words"],
    ["graph"],
    ["reading"],
    ["rules", "class_scores"],
    ["methods"],
    ["render"],
    ["metrics"],
    ["explanations", "image_rows", "panels"],
    ["runs"],
    ["snapshots", "export"],
    ["viewer", "film"],
    ["explorer"],
    ["cli", "jobs", "tables"],
    ["__main__"],
]
# Users expect Explainer.export, explain_files and show to be methods. They import what they need on
# the first call.
DOORS = {("tfviz.methods.explainer", f"tfviz.{module}") for module in ("export", "image_rows", "panels")}


def floor(module: str) -> int:
    name = module.split(".")[1] if "." in module else "__main__"
    return next(number for number, names in enumerate(FLOORS) if name in names)


@pytest.mark.parametrize("module", [module for module in MODULES if module != "tfviz"])
def test_a_module_imports_only_from_its_own_floor_and_below(module: str) -> None:
    above = {other for other in imports_of(module) if other != "tfviz" and floor(other) > floor(module)}
    assert not {other for other in above if (module, other) not in DOORS}


def import_graph() -> dict[str, set[str]]:
    """Map each module to what importing it loads: its imports and their packages.

    tfviz itself loads nothing.
    """
    return {module: set(_loaded(module)) for module in MODULES if module != "tfviz"}


def _loaded(module: str) -> Iterator[str]:
    for name in imports_of(module):
        while name != "tfviz" and not f"{module}.".startswith(f"{name}."):
            yield name
            name = name.rpartition(".")[0]


def test_there_are_no_import_cycles() -> None:
    """Imports inside functions count."""
    # raises CycleError, which names the modules
    graphlib.TopologicalSorter(import_graph()).prepare()


def test_imports_are_found_in_functions_and_strings_and_not_for_types() -> None:
    code = "import tfviz.errors\nif TYPE_CHECKING:\n    import tfviz.cli.main\n"
    code += "def f():\n    from tfviz.export import folders\n    return load('tfviz.export.onnx')"
    assert set(imports_of("", ast.parse(code))) == {"tfviz.errors", "tfviz.export.folders", "tfviz.export.onnx"}


# --- names of layers and operations ---------------------------------------------------------------

TRANSLATORS = {"tfviz.reading.keras_layers", "tfviz.reading.keras_ops", "tfviz.reading.tensorflow_ops"}
# Other modules that contain such names, and why.
KNOW_NAMES = {
    "tfviz.export.lowering.graph_copy": "replaces operations of a traced graph by type",
    "tfviz.export.lowering.loops": "writes loops and conditions out",
    "tfviz.export.lowering.tensor_lists": "the operations on lists of tensors, which loops use",
    "tfviz.export.lowering.litert_operations": "which operations LiteRT lacks, and what replaces them",
    "tfviz.export.lowering.activation_gradients": "a part of that table",
    "tfviz.export.lowering.move_gradients": "a part of that table",
    "tfviz.export.lowering.onnx_operations": "which operations ONNX lacks, and what replaces them",
    "tfviz.export.onnx": "takes the constants out of a graph before it is converted",
    "tfviz.export.litert": "says where in the graph the operations stand that the converter lacks",
    "tfviz.export.int8_weights": "rounds the kernels of a traced graph; a depthwise one has other channels",
    "tfviz.export.allowed_operations": "refuses operations that do more than compute",
    "tfviz.export.saved_model": "refuses operations that run Python",
    "tfviz.export.loading": "knows tfviz.At by name, since it runs without TensorFlow",
    "tfviz.models.weights.keras_2_layers": "which arguments the layers of a Keras 2 file have",
    "tfviz.models.weights.keras_2_graph": "how a Keras 2 file writes the calls of layers",
    "tfviz.snapshots.datasets": "rewrites the graph of a dataset",
}
ANY_MODEL = {"Layer", "Model", "Sequential", "InputLayer"}
_EXPORTED = {name: value for name, value in vars(keras.layers).items() if isinstance(value, type)}
LAYERS = {name for name, value in _EXPORTED.items() if issubclass(value, keras.Layer)} - ANY_MODEL


def _subclasses(cls: type) -> Iterator[type]:
    for one in cls.__subclasses__():
        yield one
        yield from _subclasses(one)


KERAS_OPS = {cls.__name__ for cls in _subclasses(keras.Operation) if cls.__module__.startswith("keras.src.ops")}
TENSORFLOW_OPS = {name for name in dir(tf.raw_ops) if name[0].isupper()}
NAMES = LAYERS | KERAS_OPS | TENSORFLOW_OPS


def dispatches_on_names(tree: ast.AST) -> list[str]:
    """Return code that dispatches on the class of a Keras layer or the type of an operation."""
    made = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "keras.layers"
        for alias in node.names
    }

    def decides(node: ast.AST) -> bool:
        is_class = _is_layer_class(node) or (isinstance(node, ast.Name) and node.id in imported)
        is_by_name = any(map(_is_name_of_type, _compared(node))) or any(map(_holds_names, _looked_up(node)))
        return is_by_name or (is_class and id(node) not in made)

    return [f"line {node.lineno}: {ast.unparse(node)}" for node in ast.walk(tree) if decides(node)]


def _compared(node: ast.AST) -> list[ast.expr]:
    """Return the deciding parts: sides of a comparison, lookup keys, the subject of a match."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Subscript):
        return [node.slice]
    if isinstance(node, ast.Match):
        return [node.subject]
    is_lookup = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get"
    return node.args[:1] if is_lookup else []


def _is_name_of_type(node: ast.expr) -> bool:
    """Return whether an expression is `x.type`, `x.op`, `type(x).__name__` or similar."""
    while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        node = node.func.value
    return isinstance(node, ast.Attribute) and node.attr in ("type", "op", "op_type", "type_name", "__name__")


def _looked_up(node: ast.AST) -> list[ast.expr]:
    """Return what a name may be compared with: sides of a comparison, dict keys, elements."""
    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, ast.Dict):
        return [key for key in node.keys if key is not None]
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        return node.elts
    if isinstance(node, ast.MatchValue):
        return [node.value]
    is_split = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "split"
    return [node.func.value] if is_split else []


def _holds_names(node: ast.expr) -> bool:
    is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.strip() != ""
    return is_text and all(word in NAMES for word in node.value.split())


def _is_layer_class(node: ast.AST) -> bool:
    """Return whether an expression is `layers.Conv2D` or similar."""
    if not isinstance(node, ast.Attribute) or node.attr not in LAYERS:
        return False
    return ast.unparse(node.value) in ("layers", "keras.layers")


@pytest.mark.parametrize("module", MODULES)
def test_only_the_translators_know_layers_and_operations_by_name(module: str) -> None:
    found = dispatches_on_names(tree_of(module))
    if module in TRANSLATORS or module in KNOW_NAMES:
        assert found, f"{module} knows no names any more: take it off the list"
    else:
        assert not found


@pytest.mark.parametrize(
    "code",
    [
        "type(layer).__name__ == kind",
        "layer.__class__.__name__ in kinds",
        "type(layer).__name__.lower() == kind",
        "operation.type in kinds",
        "node.op == kind",
        "rows[operation.type]",
        "rows.get(type(layer).__name__)",
        "isinstance(layer, keras.layers.Conv2D)",
        "from keras.layers import Conv2D\nisinstance(layer, Conv2D)",
        "isinstance(layer, (layers.Dense, keras.Sequential))",
        "rules = {layers.Conv2D: rule}",
        "layer.call is layers.Dense.call",
        "kind == 'Conv2D'",
        "kind in ('Relu6', other)",
        "kinds = {'Amax': 1}",
        "kinds = frozenset({'AddV2'})",
        "kinds = ['MatMul']",
        "kinds = 'Conv2D Conv3D'.split()",
        "match kind:\n    case 'Relu': pass",
        "match layer.type:\n    case other: pass",
    ],
)
def test_use_of_a_type_name_is_detected(code: str) -> None:
    assert dispatches_on_names(ast.parse(code))


@pytest.mark.parametrize(
    "code",
    [
        "isinstance(model, (keras.Layer, keras.Model, keras.Sequential, keras.KerasTensor, keras.Variable, keras.Operation))",
        "layers.Conv2D(8, 3)",
        "f'{type(layer).__name__}'",
        "Relu(name='Relu')",
        "isinstance(step.operation, Relu)",
    ],
)
def test_code_without_type_names_passes(code: str) -> None:
    assert not dispatches_on_names(ast.parse(code))


# --- private parts --------------------------------------------------------------------------------

INTERNALS = {
    "tfviz.keras_internals": ("keras.src",),
    "tfviz.tensorflow_internals": ("tensorflow.python", "tensorflow.compiler"),
}
PRIVATE_MODULES = tuple(name for names in INTERNALS.values() for name in names)
# Private in neither Keras nor TensorFlow.
OTHERS_PRIVATE = {"_getframe", "_SubParsersAction", "_replace", "_asdict"}


def private_modules(tree: ast.AST) -> list[str]:
    """Return the private modules of Keras and TensorFlow that code imports or accesses."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names.append(ast.unparse(node).replace("tf.", "tensorflow.", 1))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names.append(node.value)
    return [name for name in names if f"{name}.".startswith(tuple(f"{private}." for private in PRIVATE_MODULES))]


def private_attributes(tree: ast.AST) -> set[str]:
    """Return the attributes with a leading underscore that code accesses, except on itself."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            base, name = ast.unparse(node.value), node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("getattr", "hasattr", "setattr", "delattr"):
            base, name = ast.unparse(node.args[0]), str(getattr(node.args[1], "value", ""))
        else:
            continue
        if name.startswith("_") and not name.endswith("__") and base not in ("self", "cls"):
            found.add(name)
    return found - OTHERS_PRIVATE


def defined_names(tree: ast.AST) -> set[str]:
    """Return what a module defines: functions, classes, variables, attributes of its classes."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            found.add(node.attr)
    return found


OWN = {name for module in MODULES if module not in INTERNALS for name in defined_names(tree_of(module))}


@pytest.mark.parametrize("module", MODULES)
def test_private_parts_of_keras_and_tensorflow_are_used_in_one_file_each(module: str) -> None:
    tree = tree_of(module)
    assert not [name for name in private_modules(tree) if not name.startswith(INTERNALS.get(module, "nothing"))]
    if module not in INTERNALS:
        internal = {name for one in INTERNALS for name in private_attributes(tree_of(one))}
        assert not private_attributes(tree) & (internal - OWN)
        assert not private_attributes(tree) - OWN


@pytest.mark.parametrize(
    "code",
    [
        "from keras.src import backend",
        "from keras.src.ops.node import Node",
        "import keras.src.models",
        "if TYPE_CHECKING:\n    from keras.src.ops.node import Node",
        "keras.src.backend",
        "importlib.import_module('keras.src.backend')",
        "from tensorflow.python.eager import context",
        "import tensorflow.python.eager.context as context",
        "tf.python.eager",
    ],
)
def test_a_private_module_is_detected(code: str) -> None:
    assert private_modules(ast.parse(code))


@pytest.mark.parametrize("code", ["model._functional", "layer._losses[:] = []", "getattr(layer, '_inbound_nodes', None)"])
def test_a_private_attribute_is_detected(code: str) -> None:
    assert private_attributes(ast.parse(code))


# --- habits ---------------------------------------------------------------------------------------

LONG_BODY = 30
ADJECTIVES = {"opaque", "faithful", "linear", "convertible", "private", "common", "misc", "general", "generic", "internal"}
ADJECTIVES |= {"written_out", "written", "hidden", "known", "shown", "drawn", "taken", "given", "lost"}
# Nouns of the field that end in -ing or -ed, and the layer TimeDistributed.
NOUNS = {"reading", "loading", "preprocessing", "lowering", "coloring", "decoding", "resampling", "filling", "nesting"}
NOUNS |= {"polling", "typing", "tracing", "training", "pooling", "padding", "rendering", "time_distributed"}
# These report failures, or return them as values, and then continue.
MAY_GO_ON = {
    ("tfviz.graph.exponentials", "_results"): "code that does not run on random numbers stays as it is",
    ("tfviz.graph.token_grid", "_follow"): "code that does not run on marks does not move them",
    ("tfviz.reading.calls", "declares_wrong_tokens"): "code that does not run is reported when it is read",
    ("tfviz.methods.blank_maps", "_diagnosis"): "a map is returned even if its diagnosis fails",
    ("tfviz.reading.fidelity", "require_faithful"): "what the user's code cannot run is raised when it is compiled",
    ("tfviz.reading.keras_tracer", "traced"): "the error is the cause in NotReadable",
    ("tfviz.reading.tensorflow_tracer", "traced"): "the error is the cause in NotReadable",
    ("tfviz.reading.opaque_contents", "_function"): "only a warning is lost",
    ("tfviz.snapshots.callback", "_opened_folder"): "training continues; the error is among the faults",
    ("tfviz.snapshots.upload.upload_thread", "_attempt"): "the error is the cause of what `close` raises",
    ("tfviz.snapshots.writer", "write"): "training continues; the error is among the faults",
    ("tfviz.snapshots.writer", "_guarded"): "training continues; the error is among the faults",
    ("tfviz.viewer.polling", "poll"): "the server goes on; the error is logged",
}


def asserts(tree: ast.AST) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_asserts(module: str) -> None:
    """Python strips assertions under -O, and users should get errors."""
    assert not asserts(tree_of(module))


def is_adjective(name: str) -> bool:
    """Return whether a module is named after an adjective or participle, which says nothing."""
    last = name.rpartition("_")[2]
    has_ending = last.endswith(("ing", "ed", "able", "ible", "ful", "less", "ive", "ous"))
    return not {name, last} & NOUNS and (bool({name, last} & ADJECTIVES) or has_ending)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_is_named_after_a_thing(module: str) -> None:
    assert not is_adjective(module.rpartition(".")[2])


@pytest.mark.parametrize("folder", sorted({module.split(".")[1] for module in MODULES if module.count(".") > 1}))
def test_nine_functions_in_ten_are_short(folder: str) -> None:
    modules = [module for module in MODULES if module.split(".")[1:2] == [folder]]
    lengths = {f"{module}.{one.name}": body_lines(one) for module in modules for one in functions_of(tree_of(module))}
    long = [name for name, length in lengths.items() if length > LONG_BODY]
    assert len(long) * 10 <= len(lengths), long


def broad_handlers(tree: ast.AST) -> list[str]:
    """Return the functions that catch any exception without raising it or another one."""
    found = []
    for function in functions_of(tree):
        for node in ast.walk(function):
            is_broad = isinstance(node, ast.ExceptHandler) and _is_broad(node)
            if is_broad and not any(isinstance(part, ast.Raise) for part in ast.walk(node)):
                found.append(function.name)
    return found


def _is_broad(handler: ast.ExceptHandler) -> bool:
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or ast.unparse(kind) in ("Exception", "BaseException") for kind in kinds)


def test_broad_exception_handlers_raise_again() -> None:
    found = {(module, name) for module in MODULES for name in broad_handlers(tree_of(module))}
    assert found == set(MAY_GO_ON)


def test_broken_habits_are_detected() -> None:
    assert asserts(ast.parse("def f(x):\n    assert x"))
    assert all(map(is_adjective, ["written_out", "opaque", "lowered", "mixing", "faithful", "convertible"]))
    assert not any(map(is_adjective, ["reading", "blank_maps", "named_methods", "fidelity"]))
    long = "def f():\n    '''Says\n    what.'''\n" + "    x = 1\n" * 31
    assert body_lines(functions_of(ast.parse(long))[0]) == 31
    for kinds in ("", " Exception", " BaseException", " (ValueError, Exception)"):
        handler = "def f():\n    try:\n        g()\n    except{}:\n        {}"
        assert broad_handlers(ast.parse(handler.format(kinds, "pass"))) == ["f"]
        assert not broad_handlers(ast.parse(handler.format(kinds, "raise ValueError")))


# --- sizes ----------------------------------------------------------------------------------------

EXCITATION, GUIDED_BACKPROP, CAM = 150, 15, 10  # lines


def test_code_lines_are_those_with_code() -> None:
    code = '"""Says\nwhat."""\n\nimport x  # why\n\n\ndef f():\n    """What."""\n    # why\n    return x(\n        1\n    )\n'
    assert (code_lines(code), code_lines(code, with_imports=False)) == (5, 4)


def test_the_rules_of_excitation_backprop_are_short() -> None:
    assert code_lines(MODULES["tfviz.rules.excitation"].read_text(encoding="utf-8")) <= EXCITATION


def test_guided_backprop_and_its_rule_are_short() -> None:
    method = code_lines(MODULES["tfviz.methods.guided_backprop"].read_text(encoding="utf-8"), with_imports=False)
    rules = tree_of("tfviz.rules.relu").body
    rule = [ast.unparse(node) for node in rules if "guided" in ast.unparse(node).lower() and not isinstance(node, ast.Expr)]
    assert len(rule) == 2
    assert method + sum(map(code_lines, rule)) <= GUIDED_BACKPROP


@pytest.mark.parametrize("name", [tfviz.METHODS[key].__module__ for key in CAMS])
def test_a_cam_is_its_formula(name: str) -> None:
    assert code_lines(MODULES[name].read_text(encoding="utf-8"), with_imports=False) <= CAM

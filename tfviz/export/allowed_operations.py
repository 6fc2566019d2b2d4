"""Define the operations that a SavedModel from an untrusted source may contain.

A SavedModel is a program, and loading it runs its initializers and the functions that restore
tables. It may contain operations that read and write files, open connections or call Python.
`require_harmless` parses the file without running anything, and allows only these operations:

    stateless numeric operations            compute numbers from numbers, and cannot name a file
    listed stateless string operations      strings, image and audio formats, equations: see _TEXT
    listed in-memory stateful operations    variables, tables, arrays, random numbers: see _STATE
    calls to other functions                the called functions are checked as well
    SaveV2, RestoreV2, ...                  only in the checkpoint functions, which loading never
                                            calls

Operations that are not registered in TensorFlow, such as those from other libraries, are rejected.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import tensorflow as tf

from tfviz import tensorflow_internals
from tfviz.errors import ExportError, first_line, shown

_TEXT = re.compile(
    r"(Stateful|Stateless)?PartitionedCall|Einsum|AsString|(Scatter|Gather)Nd\w*|TensorScatter\w+|ScaleAndTranslate(Grad)?"
    r"|ExtractGlimpse(V2)?|ImageProjectiveTransformV[23]|DataFormat(DimMap|VecPermute)|PreventGradient|Enter|RaggedTensorToTensor"
    r"|UniformQuantizedConvolution\w*|Decode(AndCropJpeg|Base64|Bmp|CSV|Compressed|Gif|Image|Jpeg|PaddedRaw|Png|Raw|Wav|WebP)"
    r"|Encode(Base64|Jpeg)|ExtractJpegShape|Fingerprint|ReduceJoin|UnsortedSegmentJoin|(Static)?Regex\w+|Substr"
    r"|String(Format|Join|Length|Lower|NGrams|Split|SplitV2|Strip|ToHashBucket\w*|ToNumber|Upper)|Unicode\w+|ParseTensor"
    r"|(Dense|Sparse)To(Dense|Sparse)SetOperation|SparseCrossV2|RaggedCross|CompositeTensorVariant\w+"
)
_STATE = re.compile(
    r"VarHandleOp|ReadVariableOp|Assign(Add|Sub)?VariableOp|VarIsInitializedOp|VariableShape|DestroyResourceOp|DisableCopyOnRead"
    r"|Resource(Gather|Scatter)\w+|ResourceGather|ResourceStridedSliceAssign|If|While|Case|Assert|CheckNumerics(V2)?|Empty|DeepCopy"
    r"|Random(Crop|Gamma|Poisson|PoissonV2|Shuffle|StandardNormal|Uniform|UniformInt)|(Parameterized)?TruncatedNormal|Multinomial"
    r"|Stateful(RandomBinomial|StandardNormal|StandardNormalV2|TruncatedNormal|Uniform\w*)|Rng(Skip|ReadAndSkip)"
    r"|StatelessRandomGetAlg|NonDeterministicInts|SampleDistortedBoundingBox(V2)?|TensorArray\w*V3|Stack(Pop|Push|Close)?V2"
    r"|(Anonymous)?(Mutable)?(Dense)?HashTable(OfTensors)?(V2)?|LookupTable(Export|Find|Import|Insert|Remove|Size)V2"
    r"|InitializeTableV2|CudnnRNN\w*"
)
# Operations of input pipelines, which can read files, have Dataset or Iterator in their names.
_INPUT_PIPELINES = re.compile(r"\w*(Dataset|Iterator)\w*")
_CHECKPOINT = ("SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename")
_PRINT, _STREAMS = "PrintV2", ("stderr", "stdout", "log(info)", "log(warning)", "log(error)")


def require_harmless(folder: Path) -> None:
    """Check the operations in a folder's SavedModel without running it.

    Raise ExportError if the SavedModel cannot be read, or if it contains an operation that is not
    allowed.
    """
    try:
        (meta_graph,) = tensorflow_internals.saved_model_in(folder).meta_graphs
        if not meta_graph.HasField("object_graph_def"):  # TensorFlow 1 would run the graph
            raise ValueError(f"There is no object graph in {folder.name}")
        names = [function.signature.name for function in meta_graph.graph_def.library.function]
        if len(set(names)) < len(names):
            raise ValueError(f"Several functions have the same name in {folder.name}")
    except Exception as error:
        # TensorFlow and protobuf raise many types of exceptions for a damaged file.
        raise ExportError(
            f"The SavedModel in {shown(folder)} is damaged and cannot be opened ({first_line(error)}). Export the "
            "explainer again."
        ) from error
    if found := sorted(set(_disallowed(meta_graph))):
        raise ExportError(
            f"The SavedModel in {shown(folder)} was not loaded, because it contains operations that may not be safe to run: "
            f"{', '.join(map(shown, found))}. If you created this export yourself or trust its author, pass trusted=True."
        )


def _disallowed(meta_graph: Any) -> Iterator[str]:
    """Yield the names of disallowed operations in the graph and all of its functions."""
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    checkpoint = _checkpoint_functions(meta_graph, functions)
    yield from _disallowed_nodes(meta_graph.graph_def.node, functions)
    for name, function in functions.items():
        yield from _disallowed_nodes(function.node_def, functions, _CHECKPOINT if name in checkpoint else ())


def _disallowed_nodes(nodes: Iterable[Any], functions: dict[str, Any], extra_allowed: Iterable[str] = ()) -> Iterator[str]:
    for node in nodes:
        if node.op not in extra_allowed and not _is_allowed(node, functions):
            yield node.op


def _is_allowed(node: Any, functions: dict[str, Any]) -> bool:
    if node.op == _PRINT:
        return node.attr["output_stream"].s.decode("utf-8", "replace") in ("", *_STREAMS)
    operation = tensorflow_internals.operation_definition(node.op)
    if operation is None:  # functions cannot override registered operations
        return node.op in functions
    if _INPUT_PIPELINES.fullmatch(node.op):
        return False
    if operation.is_stateful:
        return bool(_TEXT.fullmatch(node.op) or _STATE.fullmatch(node.op))
    return not _takes_text(operation) or bool(_TEXT.fullmatch(node.op))


def _takes_text(operation: Any) -> bool:
    """Return whether an operation accepts strings other than fixed options such as "SAME"."""
    free = (one for one in operation.attr if not one.HasField("allowed_values"))
    return any(one.type == tf.string.as_datatype_enum for one in operation.input_arg) or any(
        one.type in ("string", "list(string)") for one in free
    )


def _checkpoint_functions(meta_graph: Any, functions: dict[str, Any]) -> set[str]:
    """Return the names of functions that are called only to save or restore weights.

    TensorFlow Serving restores weights with these functions. The result does not include functions
    that any other part of the model can call.
    """
    saver = meta_graph.saver_def
    names = {name.partition(":")[0] for name in (saver.save_tensor_name, saver.restore_op_name)}
    found = _reachable(
        {called for node in meta_graph.graph_def.node if node.name in names for called in _calls(node)}, functions
    )
    objects, library = meta_graph.object_graph_def, meta_graph.graph_def.library
    roots = {*objects.concrete_functions, *(one.gradient_func for one in library.gradient)}
    roots |= {one.gradient_func for one in library.registered_gradients}
    # TensorFlow may replace one function with another that claims to implement the same interface.
    roots |= {name for name, function in functions.items() if "api_implements" in function.attr}
    return found - _reachable(roots, functions)


def _reachable(names: set[str], functions: dict[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [name for name in names if name in functions]
    while waiting:
        if (name := waiting.pop()) not in found:
            found.add(name)
            waiting += [called for node in functions[name].node_def for called in _calls(node) if called in functions]
    return found


def _calls(node: Any) -> Iterator[str]:
    """Yield the names of functions that a node may call through its type or its attributes."""
    yield node.op
    for value in node.attr.values():
        yield value.func.name
        yield from (function.name for function in value.list.func)

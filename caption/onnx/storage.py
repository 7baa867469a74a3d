"""Smaller weights in an ONNX graph: float16, or int8 with a scale for each channel.

In: a model with float32 weights. Out: the same graph, whose weights are stored smaller and become
float32 when a session loads it; what is computed stays float32.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LEAST = 256  # values of a weight; smaller ones stay as they are
LEAST_INT8 = 4096


def compress(model: onnx.ModelProto, storage: str) -> onnx.ModelProto:
    """The model, changed in place; `storage` is float32, float16 or int8."""
    _strip(model.graph)
    if storage == "float32":
        return model
    graph, nodes, weights = model.graph, [], []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < LEAST:
            weights.append(weight)
        elif storage == "int8" and values.size >= LEAST_INT8 and values.ndim > 1:
            axis = _channel_axis(graph, weight.name)
            stored, node = _int8(weight.name, values, axis)
            weights += stored
            nodes.append(node)
        else:
            stored = numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_half")
            weights.append(stored)
            nodes.append(
                helper.make_node("Cast", [stored.name], [weight.name], to=TensorProto.FLOAT)
            )
    del graph.initializer[:]
    graph.initializer.extend(weights)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *rest])
    return model


def _strip(graph: onnx.GraphProto) -> None:
    """Without the exporter's notes, 0.3 MB of stack traces, and what onnxruntime infers itself."""
    del graph.value_info[:], graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
        if isinstance(part, onnx.NodeProto):
            part.name = ""


def _int8(name: str, values: np.ndarray, axis: int) -> tuple[list[TensorProto], onnx.NodeProto]:
    """Symmetric int8, and the node that multiplies by the scale of the channel."""
    others = tuple(i for i in range(values.ndim) if i != axis)
    scale = np.maximum(np.abs(values).max(others), 1e-12).astype(np.float32) / 127
    shape = [-1 if i == axis else 1 for i in range(values.ndim)]
    whole = np.rint(values / scale.reshape(shape)).astype(np.int8)
    names = [f"{name}_int8", f"{name}_scale"]
    stored = [numpy_helper.from_array(t, n) for t, n in zip((whole, scale), names, strict=True)]
    return stored, helper.make_node("DequantizeLinear", names, [name], axis=axis)


def _channel_axis(graph: onnx.GraphProto, name: str) -> int:
    """The axis of the output channels: the last of a matrix that is multiplied from the right."""
    for node in graph.node:
        if name in node.input and node.op_type in ("MatMul", "Gemm"):
            flipped = any(a.name == "transB" and a.i for a in node.attribute)
            return 0 if flipped else 1
    return 0

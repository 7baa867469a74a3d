"""Smaller weights, against the graph with whole ones: what is stored, and what is computed."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from caption.onnx.storage import compress  # noqa: E402

RNG = np.random.default_rng(0)
WEIGHTS = {
    "right": RNG.standard_normal((64, 80)) * np.linspace(0.01, 9, 80),  # x @ right
    "flipped": RNG.standard_normal((96, 80)) * np.linspace(0.01, 9, 96)[:, None],  # transB
    "kernel": RNG.standard_normal((48, 1, 1, 96)) * np.linspace(0.01, 9, 48)[:, None, None, None],
    "long": RNG.standard_normal(48),
}
"""the channels of each are of different sizes, along the axis of the output"""


def graph():
    """x @ right, then Gemm with a transposed weight, then a convolution, then a sum with `long`."""
    nodes = [
        helper.make_node("MatMul", ["x", "right"], ["a"], name="noted", doc_string="a note"),
        helper.make_node("Gemm", ["a", "flipped"], ["b"], transB=1),
        helper.make_node("Reshape", ["b", "shape"], ["c"]),
        helper.make_node("Conv", ["c", "kernel"], ["d"]),
        helper.make_node("Reshape", ["d", "back"], ["e"]),
        helper.make_node("Add", ["e", "long"], ["y"]),
    ]
    tensors = [numpy_helper.from_array(w.astype(np.float32), n) for n, w in WEIGHTS.items()]
    for name, shape in (("shape", [-1, 1, 1, 96]), ("back", [-1, 48])):
        tensors.append(numpy_helper.from_array(np.array(shape), name))
    places = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("x", 64), ("y", 48))
    ]
    made = helper.make_graph(nodes, "three", places[:1], places[1:], tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def stored(model):
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_the_graph_computes_nearly_the_same(storage):
    x = RNG.standard_normal((3, 64)).astype(np.float32)
    exact = _run(graph(), x)
    found = _run(compress(graph(), storage), x)
    least = {"float32": 0, "float16": 1e-3, "int8": 2e-2}[storage]
    assert found.shape == exact.shape == (3, 48)
    assert abs(found - exact).max() <= least * abs(exact).max()
    if storage != "float32":
        assert (found != exact).any()


def _run(model, x):
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]


@pytest.mark.parametrize(("name", "axis"), [("right", 1), ("flipped", 0), ("kernel", 0)])
def test_each_channel_has_a_scale_of_its_own(name, axis):
    """Its greatest value is 127 or -127, and no value is further off than half a step."""
    values, weights = stored(compress(graph(), "int8")), WEIGHTS[name].astype(np.float32)
    whole, scale = values[f"{name}_int8"], values[f"{name}_scale"]
    assert whole.dtype == np.int8 and len(scale) == weights.shape[axis]
    others = tuple(i for i in range(weights.ndim) if i != axis)
    np.testing.assert_allclose(scale, abs(weights).max(others) / 127, rtol=1e-6)
    assert (abs(whole.astype(int)).max(others) == 127).all()
    steps = scale.reshape([-1 if i == axis else 1 for i in range(weights.ndim)])
    assert (abs(whole * steps - weights) <= 0.501 * steps).all()


@pytest.mark.parametrize(
    ("flags", "axis"), [({"transA": 1}, 1), ({"transB": 0}, 1), ({"transA": 1, "transB": 1}, 0)]
)
def test_the_channels_of_a_gemm_are_columns_unless_its_weight_is_transposed(flags, axis):
    """ONNX: Gemm multiplies A by B, or by B transposed with transB; here B is the weight."""
    tensors = [numpy_helper.from_array(WEIGHTS["right"].astype(np.float32), "right")]
    node = helper.make_node("Gemm", ["x", "right"], ["y"], **flags)
    model = helper.make_model(helper.make_graph([node], "one", [], [], tensors))
    assert len(stored(compress(model, "int8"))["right_scale"]) == WEIGHTS["right"].shape[axis]


def test_a_channel_of_zeros_stays_zero():
    model = graph()
    weights = numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights[:, 3] = 0
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weights, "right"))
    values = stored(compress(model, "int8"))
    assert (values["right_int8"][:, 3] == 0).all() and np.isfinite(values["right_scale"]).all()
    assert (values["right_int8"][:, 4] != 0).any()


def test_a_short_vector_and_whole_numbers_stay_as_they_are():
    for storage in ("float16", "int8"):
        values = stored(compress(graph(), storage))
        assert values["long"].dtype == np.float32 and len(values["long"]) == 48
        assert values["shape"].tolist() == [-1, 1, 1, 96]


def test_a_long_vector_and_a_small_matrix_are_halves_also_with_int8():
    """Only matrices of thousands of values are worth the scales."""
    weights = {"small": np.ones((1, 300)), "wide": np.ones(5000), "index": np.arange(300)}
    tensors = [
        numpy_helper.from_array(w.astype(np.int64 if n == "index" else np.float32), n)
        for n, w in weights.items()
    ]
    model = helper.make_model(helper.make_graph([], "none", [], [], tensors))
    values = stored(compress(model, "int8"))
    assert {name: v.dtype for name, v in values.items()} == {
        "small_half": np.float16, "wide_half": np.float16, "index": np.int64,
    }  # fmt: skip


def test_notes_of_the_exporter_are_left_out():
    model = graph()
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, ["n", 80]))
    compress(model, "float32")
    assert not model.graph.value_info
    assert not any(node.name or node.doc_string for node in model.graph.node)

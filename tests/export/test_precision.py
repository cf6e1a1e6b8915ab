"""float16 is typed in the graph without left-overs, int8 quantises the blocks, TensorRT knows every operator."""

from __future__ import annotations

import collections
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from defnet_export.certificate import generated_views
from defnet_export.graph import ScoringGraph
from defnet_export.int8 import ALL_WEIGHTS, MLP_WEIGHTS, quantised
from defnet_export.lowering import lower
from defnet_export.operators import unsupported, uses
from defnet_export.precision import PRECISIONS, default_path
from defnet_infer.errors import UsageError
from defnet_train.config import HeadConfig, ModelConfig
from defnet_train.model import Defnet
from tests.lively_model import lively_model

LAYERS = 2


@pytest.fixture(scope="module")
def graphs() -> dict[str, ScoringGraph]:
    """Both kinds of tower; the transformer is cut to two narrow blocks."""
    from open_clip.model import QuickGELU
    from open_clip.transformer import VisionTransformer

    small = lively_model()
    made = {"mobilenet": ScoringGraph(small).eval()}
    for name, head in (("vit", HeadConfig()), ("bare vit", HeadConfig(kind="none"))):
        torch.manual_seed(0)
        vit = Defnet(ModelConfig(tower="mobilenetv2_100", weights="random", head=head)).eval()
        vit.load_state_dict(small.state_dict(), strict=name == "vit")
        embed = vit.encoder.embed_dim
        vit.encoder.clip.visual = VisionTransformer(
            224, 32, 128, LAYERS, 2, 4.0, output_dim=embed, act_layer=QuickGELU
        ).eval()
        made[name] = ScoringGraph(vit).eval()
    return made


@pytest.fixture(scope="module")
def lowered(graphs) -> dict[tuple[str, str], onnx.ModelProto]:
    made = {(tower, p): lower(graph, p) for tower, graph in graphs.items() for p in ("float32", "float16")}
    made |= {(tower, "int8"): lower(graphs[tower], "int8") for tower in ("vit", "bare vit")}
    return made


def casts(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.op_type == "Cast"]


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
def test_no_cast_follows_a_cast(lowered, tower):
    proto = lowered[tower, "float16"]
    from_cast = {node.output[0] for node in casts(proto)}
    assert not [node.name for node in casts(proto) if node.input[0] in from_cast]


@pytest.mark.parametrize(
    ("tower", "half", "single"),
    [
        # crops and overview; into half; four levels and the last layer out of it; the projection's two stored weights
        # A float32 file casts its 8-bit inputs, and the hidden weights, which are half-precision numbers anyway.
        ("mobilenet", 2 + 1 + 4 + 1 + 2, 2 + 1),
        # crops, overview and pixels; patches; a block: 2 norms, 2 results, softmax in and out; the projection's weights
        ("vit", 2 + 1 + 1 + 6 * LAYERS + 1, 2),
    ],
)
def test_every_cast_has_a_reason(lowered, tower, half, single):
    assert len(casts(lowered[tower, "float16"])) == half
    assert len(casts(lowered[tower, "float32"])) == single


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
def test_products_and_convolutions_of_the_tower_are_half_and_norms_and_softmax_are_not(lowered, tower):
    found = collections.defaultdict(set)
    for use in uses(lowered[tower, "float16"]):
        found[use.operator].add(use.types)
    assert found["Conv"] == {("FLOAT16",)} | ({("FLOAT",)} if tower == "mobilenet" else set())
    assert found["Softmax"] == {("FLOAT",)}
    assert found["ReduceMean"] == {("FLOAT",)}
    if tower == "vit":
        assert found["LayerNormalization"] == {("FLOAT",)}
        assert ("FLOAT16",) in found["MatMul"]


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
def test_weights_of_the_tower_are_stored_in_half_and_once(lowered, tower):
    large = {
        tensor.name: tensor
        for tensor in lowered[tower, "float16"].graph.initializer
        if int(np.prod(tensor.dims)) > 2000 and "text" not in tensor.name and list(tensor.dims) != [495, 25]
    }
    small_vit = {name for name in large if name.endswith("positions")}  # added to the float32 stream
    single = {name for name, tensor in large.items() if tensor.data_type != TensorProto.FLOAT16}
    # Two stages of MobileNet are float32, what reads the texture of its maps, and the norm of its pooled features.
    exact = ("net.blocks.0.", "net.blocks.1.", ".directions", "head.norm.")
    assert {name for name in single - small_vit if not any(part in name for part in exact)} == set()
    contents = [tensor.raw_data for tensor in large.values()]
    assert len(set(contents)) == len(contents)


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_tensorrt_knows_every_operator_and_type(lowered, tower, precision):
    assert list(unsupported(lowered[tower, precision])) == []


def test_the_table_finds_an_operator_and_a_type_that_tensorrt_lacks(lowered):
    assert any("DynamicQuantizeLinear" in line for line in unsupported(lowered["vit", "int8"]))
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Transpose", ["x"], ["y"], perm=[1, 0])]
    proto = helper.make_model(
        helper.make_graph(nodes, "t", [value("x", TensorProto.UINT8, [2, 3])], [value("y", TensorProto.UINT8, [3, 2])]),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    assert list(unsupported(proto)) == ["Transpose takes no UINT8"]


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
def test_a_half_file_runs_on_the_cpu_and_says_nearly_the_same(graphs, lowered, tower):
    crops, overview = generated_views(2, 15, 224)
    with torch.inference_mode():
        expected = graphs[tower](torch.from_numpy(crops), torch.from_numpy(overview))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        lowered[tower, "float16"].SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    actual = session.run(None, {"crops": crops, "overview": overview})
    assert {output.type for output in session.get_outputs()} == {"tensor(float)"}
    assert 0 < np.abs(actual[0] - expected[0].numpy()).max() < 0.03


@pytest.mark.parametrize("tower", ["mobilenet", "vit"])
def test_pixels_are_scaled_as_planes_since_with_channels_last_it_takes_a_sixth_of_the_small_towers_time(lowered, tower):
    graph = lowered[tower, "float32"].graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    scale = next(node for node in graph.node if node.op_type == "Mul")
    assert [shapes[name] for name in scale.input if name in shapes] == [[3, 1, 1]]


@pytest.mark.parametrize(
    ("tower", "weights", "count"),
    [
        # The two products of every MLP.
        ("vit", MLP_WEIGHTS, 2 * LAYERS),
        # Attention's input and output too; the last block has its queries apart.
        ("bare vit", ALL_WEIGHTS, 4 * LAYERS + 1),
    ],
)
def test_int8_leaves_attention_alone_where_a_model_states_variances(lowered, tower, weights, count):
    proto = lowered[tower, "int8"]
    assert {node.domain for node in proto.graph.node} == {""}
    assert [entry.domain for entry in proto.opset_import] == [""]
    integer = [node for node in proto.graph.node if node.op_type == "MatMulInteger"]
    assert len(integer) == count
    assert all(weights.fullmatch(node.input[1].removesuffix("_quantized")) for node in integer)
    onnx.checker.check_model(proto, full_check=True)


def test_with_attention_in_int8_scores_stay_near_and_are_not_the_same(graphs, lowered):
    crops, overview = generated_views(4, 15, 224)
    with torch.inference_mode():
        expected = graphs["bare vit"](torch.from_numpy(crops), torch.from_numpy(overview))[0].numpy()
    session = onnxruntime.InferenceSession(
        lowered["bare vit", "int8"].SerializeToString(), providers=["CPUExecutionProvider"]
    )
    feed = {tensor.name: {"crops": crops, "overview": overview}[tensor.name] for tensor in session.get_inputs()}
    assert 0 < np.abs(session.run(["score"], feed)[0] - expected).max() < 0.02


def test_int8_of_a_convolutional_tower_is_refused_with_the_way_out(lowered):
    with pytest.raises(UsageError, match="--fp32 or --fp16"):
        quantised(lowered["mobilenet", "float32"])


def test_the_name_of_a_file_says_its_precision():
    checkpoint = Path("runs/lite/best.safetensors")
    names = [default_path(checkpoint, precision).name for precision in PRECISIONS]
    assert names == ["best.onnx", "best.fp16.onnx", "best.int8.onnx"]


def test_a_graph_with_mixed_types_does_not_pass():
    value = helper.make_tensor_value_info
    half = numpy_helper.from_array(np.ones((3, 3), np.float16), "w")
    proto = helper.make_model(
        helper.make_graph(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            "t",
            [value("x", TensorProto.FLOAT, [2, 3])],
            [value("y", TensorProto.FLOAT, [2, 3])],
            [half],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )
    with pytest.raises(onnx.shape_inference.InferenceError):
        list(unsupported(proto))


def test_two_precisions_at_once_are_refused():
    from typer.testing import CliRunner

    from defnet_infer.cli import app

    result = CliRunner().invoke(app, ["export", "best.safetensors", "--fp16", "--int8"])
    assert isinstance(result.exception, UsageError)
    assert "exclude each other" in str(result.exception)

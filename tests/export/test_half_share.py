"""The share of half precision, on inspector texts of the shapes that TensorRT 10 and 11 are documented to give."""

from __future__ import annotations

import json
from typing import Any

import pytest

from defnet_export.half_share import HALF_SHARE_MIN, HalfShare, hold, measure
from defnet_infer.errors import GateError


def tensor(kind: str, *sizes: int, key: str = "Format/Datatype") -> dict[str, Any]:
    return {"Name": "t", "Dimensions": list(sizes), key: kind}


def text(*layers: tuple[list[dict[str, Any]], list[dict[str, Any]]]) -> str:
    listed = [
        {"Name": f"__myl_{k}", "LayerType": "kgen", "Inputs": inputs, "Outputs": outputs}
        for k, (inputs, outputs) in enumerate(layers)
    ]
    return json.dumps({"Layers": listed, "Bindings": ["crops", "overview", "score"]})


def test_elements_are_weighed_and_what_is_no_float_is_left_out() -> None:
    found = measure(
        text(
            ([tensor("UInt8", 1000, 1000)], [tensor("Float", 10, 2)]),
            ([tensor("Float", 10, 2), tensor("Int64", 999)], [tensor("Half", 10, 6)]),
        )
    )
    assert (found.half, found.floating, found.layers) == (60, 100, 2)
    assert found.share == 0.6


@pytest.mark.parametrize(
    ("kind", "key", "share"),
    [
        ("Half", "Format/Datatype", 1),
        ("Row major linear FP16 format", "Format/Datatype", 1),
        ("Channel major FP16 format where channel % 8 == 0", "Format/Datatype", 1),
        ("Row major linear FP32", "Format/Datatype", 0),
        ("BFloat16", "Format/Datatype", 0),
        ("Half", "Datatype", 1),
        ("Float", "DataType", 0),
        ("FP16", "Datatype", 1),
    ],
)
def test_every_documented_spelling_of_a_type_is_read(kind: str, key: str, share: float) -> None:
    assert measure(text(([tensor(kind, 7, key=key)], []))).share == share


def test_the_type_field_of_tensorrt_11_is_read_beside_its_format_field() -> None:
    split = {"Name": "t", "Dimensions": [4], "Format": "Linear", "Datatype": "Half"}
    assert measure(text(([split], [tensor("Float", 4)]))).share == 0.5


@pytest.mark.parametrize(
    ("inspected", "why"),
    [
        ("not json", "no list of layers"),
        ("{}", "no list of layers"),
        (json.dumps({"Layers": ["conv1", "relu"]}), "detailed verbosity"),
        (text(), "no floating-point tensor"),
        (text(([tensor("Int32", 4)], [])), "no floating-point tensor"),
        (text(([tensor("Quaternion", 4)], [])), "type 'Quaternion'"),
        (text(([tensor("Half or Float", 4)], [])), "type 'Half or Float'"),
        (text(([{"Name": "t", "Dimensions": [4], "ElementType": "Half"}], [])), "ElementType"),
        (text(([tensor("Half", -1, 4)], [])), r"size \[-1, 4\]"),
        (text(([{"Name": "t", "Datatype": "Half"}], [])), "size None"),
        (json.dumps({"Layers": [{"Name": "a", "Inputs": ["t"], "Outputs": []}]}), "without a type"),
    ],
)
def test_what_is_not_understood_is_an_error_and_never_a_share(inspected: str, why: str) -> None:
    with pytest.raises(GateError, match=f"cannot be determined.*{why}") as caught:
        measure(inspected)
    assert caught.value.exit_code == 4


def test_an_engine_that_was_built_in_single_precision_is_refused() -> None:
    with pytest.raises(GateError, match=r"not half precision: 0\.0% of what its 12 layers"):
        hold(HalfShare(half=0, floating=1000, layers=12))
    hold(HalfShare(half=int(1000 * HALF_SHARE_MIN), floating=1000, layers=12))
    with pytest.raises(GateError):
        hold(HalfShare(half=int(1000 * HALF_SHARE_MIN) - 1, floating=1000, layers=12))

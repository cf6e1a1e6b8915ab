"""`defnet_infer.views` as ONNX nodes: one raw photo of any size in, its crops and overview out.

A rule without overview gets none.

Every number comes from the `Preprocess` of the contract, so a changed preset changes the graph. Steps and order are
those of `defnet_infer/views.py`; resizing is ONNX `Resize` with Pillow's filters, where few pixels differ from
Pillow's, by one level. It needs a runtime that keeps the attribute `antialias`: ONNX Runtime on the CPU does, OpenVINO
ignores it without a word, TensorRT refuses it.

Memory beyond the photo itself does not depend on its size: only the chosen windows are cut out, and a photo that is
smaller than one crop is enlarged window by window, since enlarging a 1 x 5000 strip whole would make 5000 times
its pixels.

Legend: H W height and width, C colour channel, V view, S candidate stride, 2 the pair (vertical, horizontal).
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnxscript import GraphBuilder, OpBuilder, ir

from defnet_infer.contract import Preprocess

IR_VERSION = 9
"""Of opset 18 to 20; a merged file keeps that of the scoring graph."""
_RESIZE = {"antialias": 1, "coordinate_transformation_mode": "half_pixel", "exclude_outside": 1}
_KEYS_A = -0.5
"""Parameter of the cubic filter; Pillow's."""


def view_graph(rule: Preprocess, opset: int) -> onnx.ModelProto:
    """The graph from a photo to its views.

    Input ``image`` uint8 (height, width, 3), RGB, upright; outputs ``crops`` uint8 (1, crop_count, side, side, 3) and
    ``overview`` uint8 (1, side, side, 3), where the rule has one. Every other name in it begins with ``views.``.

    Args:
        rule: The preprocessing rule.
        opset: Of the standard domain, 18 or later.
    """
    graph = ir.Graph([], [], nodes=[], opset_imports={"": opset}, name="views")
    builder = GraphBuilder(graph)
    image_HWC = builder.input("image", ir.DataType.UINT8, ["height", "width", 3])
    op = builder.op
    size_2 = op.Shape(image_HWC, start=0, end=2)
    working_2 = _working_size(op, size_2, rule)
    positions_V2 = _crop_positions(op, working_2, rule)
    crops_VHWC = op.If(
        op.Less(op.ReduceMin(size_2, keepdims=0), rule.crop_size),
        then_branch=_branch(op, lambda op: _enlarged_windows(op, image_HWC, size_2, working_2, positions_V2, rule)),
        else_branch=_branch(op, lambda op: _cut_windows(op, image_HWC, working_2, positions_V2, rule)),
    )
    side = rule.crop_size
    views = [(op.Unsqueeze(crops_VHWC, [0]), "crops", [1, rule.crop_count, side, side, 3])]
    if rule.overview_mode != "none":
        overview = _resize(op, image_HWC, [side, side], mode="cubic", cubic_coeff_a=_KEYS_A)
        views.append((overview, "overview", [1, side, side, 3]))
    for value, name, shape in views:
        value.type, value.shape = ir.TensorType(ir.DataType.UINT8), ir.Shape(shape)
        builder.add_output(value, name)
    _name_everything(graph)
    return ir.to_proto(ir.Model(graph, ir_version=IR_VERSION))


def _working_size(op: OpBuilder, size_2: ir.Value, rule: Preprocess) -> ir.Value:
    """`views.working_size`: integer division, the short side first."""
    short_1 = op.ReduceMin(size_2)
    target_1 = op.Max(short_1, [rule.crop_size])
    if rule.shrink_short_side:
        shrink_1 = [rule.shrink_short_side]
        target_1 = op.Where(op.Greater(short_1, shrink_1), shrink_1, target_1)
    return op.Div(op.Mul(size_2, target_1), short_1)


def _crop_positions(op: OpBuilder, working_2: ir.Value, rule: Preprocess) -> ir.Value:
    """`views.crop_positions`: top and left edge of every crop, (V, 2).

    The loop that halves the stride becomes a table of all strides it may try, and the first that is enough.
    """
    is_large = op.GreaterOrEqual(op.ReduceMax(working_2), [rule.large_side])
    small_S, large_S = (
        [stride] if rule.few_windows == "repeat" else halvings(stride) for stride in (rule.stride, rule.large_stride)
    )
    length = max(len(small_S), len(large_S))
    strides_S = op.Where(is_large, _padded(large_S, length), _padded(small_S, length))
    free_2 = op.Sub(working_2, [rule.crop_size])
    windows_S2 = op.Add(op.Div(op.Unsqueeze(free_2, [0]), op.Unsqueeze(strides_S, [1])), [1])
    counts_S = op.ReduceProd(windows_S2, [1], keepdims=0)
    # Where none is enough, as for the only stride of a rule that repeats windows, the first is taken.
    enough_S = op.Or(op.GreaterOrEqual(counts_S, [rule.crop_count]), op.Equal(strides_S, [1]))
    first = op.ArgMax(op.Cast(enough_S, to=ir.DataType.INT32), axis=0, keepdims=1)
    stride, count = op.Gather(strides_S, first), op.Gather(counts_S, first)
    columns = op.Slice(op.Gather(windows_S2, op.Squeeze(first, [0])), [1], [2])

    order_V = list(range(rule.crop_count))
    if rule.crop_rule == "every_nth":
        spread_V = op.Mul(order_V, op.Div(count, [rule.crop_count]))
    else:
        # In double precision Round gives Python's round of the same quotient, half to even.
        steps_V = op.Cast(op.Mul(order_V, op.Sub(count, [1])), to=ir.DataType.DOUBLE)
        spread_V = op.Cast(op.Round(op.Div(steps_V, [rule.crop_count - 1.0])), to=ir.DataType.INT64)
    chosen_V = op.Where(op.Less(count, [rule.crop_count]), op.Mod(order_V, count), spread_V)
    top_V = op.Mul(op.Div(chosen_V, columns), stride)
    left_V = op.Mul(op.Mod(chosen_V, columns), stride)
    return op.Concat(op.Unsqueeze(top_V, [1]), op.Unsqueeze(left_V, [1]), axis=1)


def _cut_windows(
    op: OpBuilder, image_HWC: ir.Value, working_2: ir.Value, positions_V2: ir.Value, rule: Preprocess
) -> ir.Value:
    """Windows of the photo at its working size; a photo that needs no shrinking passes `Resize` unchanged."""
    working_HWC = op.Squeeze(_resize(op, image_HWC, working_2, mode="linear"), [0])
    return _for_each(
        op,
        positions_V2,
        lambda op, position_2: op.Slice(working_HWC, position_2, op.Add(position_2, [rule.crop_size]), [0, 1]),
        rule,
    )


def _enlarged_windows(
    op: OpBuilder,
    image_HWC: ir.Value,
    size_2: ir.Value,
    working_2: ir.Value,
    positions_V2: ir.Value,
    rule: Preprocess,
) -> ir.Value:
    """Windows of the photo enlarged bicubically, each made from the few pixels it needs.

    Per axis, pixel i of a window at position t of the working size is centred at c = (t + i + 1/2) size / working in
    the photo. Photo pixel p counts with Keys' kernel k(p + 1/2 - c), normalised over the pixels that exist. A window
    is both weight matrices applied to a patch, rounded to levels after each.
    """
    side = rule.crop_size
    scale_2 = op.Div(_double(op, size_2), _double(op, working_2))

    def weights(op: OpBuilder, centre_i: ir.Value, start: ir.Value, end: ir.Value) -> ir.Value:
        pixel_p = op.Range(start, end, 1)
        distance_ip = op.Sub(op.Add(_double(op, pixel_p), 0.5), op.Unsqueeze(centre_i, [1]))
        kernel_ip = _keys(op, op.Abs(op.Cast(distance_ip, to=ir.DataType.FLOAT)))
        return op.Div(kernel_ip, op.ReduceSum(kernel_ip, [1], keepdims=1))

    def enlarge(op: OpBuilder, position_2: ir.Value) -> ir.Value:
        first_2 = op.Mul(op.Add(_double(op, position_2), 0.5), scale_2)
        last_2 = op.Add(first_2, op.Mul(scale_2, side - 1.0))
        # The kernel reaches 2 pixels to either side of the outermost centres.
        start_2 = op.Max(op.Cast(op.Floor(op.Sub(first_2, 2.5)), to=ir.DataType.INT64), [0])
        end_2 = op.Min(op.Cast(op.Ceil(op.Add(last_2, 2.5)), to=ir.DataType.INT64), size_2)
        patch_HWC = op.Slice(image_HWC, start_2, end_2, [0, 1])
        patch_CHW = op.Cast(op.Transpose(patch_HWC, perm=[2, 0, 1]), to=ir.DataType.FLOAT)
        step_i = op.Cast(list(range(side)), to=ir.DataType.DOUBLE)
        rows_ip, columns_ip = (
            weights(
                op,
                op.Add(op.Mul(step_i, op.Gather(scale_2, axis)), op.Gather(first_2, axis)),
                op.Gather(start_2, axis),
                op.Gather(end_2, axis),
            )
            for axis in (0, 1)
        )
        wide_CHW = _to_levels(op, op.MatMul(patch_CHW, op.Transpose(columns_ip, perm=[1, 0])))
        window_CHW = _to_levels(op, op.MatMul(rows_ip, wide_CHW))
        return op.Cast(op.Transpose(window_CHW, perm=[1, 2, 0]), to=ir.DataType.UINT8)

    return _for_each(op, positions_V2, enlarge, rule)


def _keys(op: OpBuilder, distance: ir.Value) -> ir.Value:
    """Keys' cubic convolution kernel of a distance >= 0 in pixels (Keys 1981, with a = -1/2)."""
    a = _KEYS_A
    near = op.Add(op.Mul(op.Mul(op.Sub(op.Mul(distance, a + 2), a + 3), distance), distance), 1.0)
    far = op.Sub(op.Mul(op.Add(op.Mul(op.Sub(op.Mul(distance, a), 5 * a), distance), 8 * a), distance), 4 * a)
    return op.Where(op.Less(distance, 1.0), near, op.Where(op.Less(distance, 2.0), far, 0.0))


def _to_levels(op: OpBuilder, pixels: ir.Value) -> ir.Value:
    """The nearest of the 256 levels, still float32."""
    return op.Clip(op.Floor(op.Add(pixels, 0.5)), 0.0, 255.0)


def _double(op: OpBuilder, value: ir.Value) -> ir.Value:
    return op.Cast(value, to=ir.DataType.DOUBLE)


def _resize(op: OpBuilder, image_HWC: ir.Value, target_2: ir.Value | list[int], **attributes: object) -> ir.Value:
    """`Resize` to (1, height, width, 3); its cubic form takes four axes only."""
    sizes = op.Concat([1], target_2, [3], axis=0)
    return op.Resize(op.Unsqueeze(image_HWC, [0]), None, None, sizes, **_RESIZE, **attributes)


def _for_each(
    op: OpBuilder, positions_V2: ir.Value, window: Callable[[OpBuilder, ir.Value], ir.Value], rule: Preprocess
) -> ir.Value:
    """Stack `window` of every position: a `Scan`, so that one window at a time is in memory beside the result."""
    side = rule.crop_size
    body = op.builder.subgraph(
        window,
        [ir.Value(name="views.position", type=ir.TensorType(ir.DataType.INT64), shape=ir.Shape([2]))],
        [ir.Value(name="views.window", type=ir.TensorType(ir.DataType.UINT8), shape=ir.Shape([side, side, 3]))],
        name="window",
    )
    return op.Scan(positions_V2, num_scan_inputs=1, body=body)


def _name_everything(graph: ir.Graph) -> None:
    """Names that no scoring graph has; the builder counts anew in every branch, so its own are not unique."""
    for constant in list(graph.initializers.values()):
        constant.name = f"views.{constant.name}"
    for number, node in enumerate(graph.all_nodes()):
        node.name = f"views.{number}.{node.op_type}"
        node.metadata_props.clear()  # The builder notes its own class names at every node.
        for value in node.outputs:
            if value not in graph.outputs:
                value.name = node.name


def _branch(op: OpBuilder, trace: Callable[[OpBuilder], ir.Value]) -> ir.Graph:
    return op.builder.subgraph(trace, [], [ir.Value(name="views.crops")], name="crops")


def halvings(stride: int) -> list[int]:
    """All strides that `views.grid` may try: 48, 24, 12, 6, 3, 1."""
    return [stride] if stride == 1 else [stride, *halvings(stride // 2)]


def _padded(strides: list[int], length: int) -> list[int]:
    return strides + [1] * (length - len(strides))

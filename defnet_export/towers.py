"""The image towers in the form that is exported: few plain operators, no shape arithmetic, in float32 or float16.

They compute what open_clip's and timm's modules compute (tested) and differ from them in six ways.

- Attention is written as MatMul, Softmax, MatMul, with the scale inside the query's weights: TensorRT asks for the
  scale before the first product, and fuses just this pattern. PyTorch's own module exports a chain of shape operators.
- The class token is added with the positions instead of being concatenated: nothing then depends on the batch size.
- The last block of a vision transformer computes the class token alone, which is all that is read: 7 % less work.
- Batch normalisation is folded into the convolutions, in float32.
- In float32 a photo's views pass the first stages of MobileNet two or three at a time: on a CPU the maps of all would
  leave its caches, and scoring would take a tenth longer. The numbers are the same bits.
- In float16, products and convolutions are half, and a cast stands where the type changes. These stay float32:
  normalisation of pixels, the residual stream and its layer norms, the softmax of attention, the first stages of
  MobileNet, its pooled means and deviations and its textures, and everything from the tower's output on.

Legend: N view, L token, C channel, H W pixels, D channel of one attention head, F trunk feature.
"""

from __future__ import annotations

import copy

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from timm.layers import BatchNormAct2d
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from defnet_export.graph import ScoringGraph
from defnet_infer.errors import UsageError
from defnet_train.multilevel import MultiLevelMobileNet

EXACT_STAGES = 2
"""First stages of MobileNet that stay float32. A half bias is off by up to 2^-12 of itself in every pixel alike, which
pooling does not average away; nearly all of what that did to scores came from these two, which have few weights.
"""


MOST_PARTS = 8
"""In how many parts a photo's views pass the first stages, at most; the number of views is a multiple of theirs."""


def deployed(graph: ScoringGraph, dtype: torch.dtype) -> ScoringGraph:
    """A copy of a scoring graph whose image tower has the exported form.

    Args:
        graph: Left as it is; the copy shares the tensors that do not change.
        dtype: Of the tower's products and convolutions, float32 or float16.

    Raises:
        UsageError: If the tower has no half form.
    """
    shared = {id(tensor): tensor for tensor in [*graph.parameters(), *graph.buffers()]}
    result = copy.deepcopy(graph, shared)
    clip = result.model.encoder.clip
    if isinstance(clip.visual, VisionTransformer):
        clip.visual = PlainVit(clip.visual, dtype)
    elif isinstance(clip.visual.trunk, MultiLevelMobileNet):
        clip.visual.trunk = plain_mobilenet(copy.deepcopy(clip.visual.trunk), dtype)
        if dtype == torch.float32:
            clip.visual.trunk.parts = _parts(graph)
        head = clip.visual.head
        # Its weights count as half-precision numbers already: nothing is lost.
        head.hidden = StoredLinear(head.hidden.weight.T, torch.float16, head.hidden.bias)
        head.proj = StoredLinear(head.proj.weight.T, dtype)
    elif dtype != torch.float32:
        raise UsageError(f"{graph.model.config.tower} is exported in float32 only; leave out --fp16")
    return result.eval().requires_grad_(False)


def _parts(graph: ScoringGraph) -> int:
    contract = graph.model.contract()
    views = contract.preprocess.crop_count + (contract.preprocess.overview_mode != "none")
    return max(parts for parts in range(1, MOST_PARTS + 1) if views % parts == 0)


class StoredLinear(nn.Module):
    """A float32 product whose weights are stored in another type: half the bytes, no half arithmetic.

    Args:
        weight_IO: (input, output), so that the file needs no transposed copy.
        dtype: Type to store them in.
        bias_O: (output,), stored in float32: its few numbers are not worth rounding.
    """

    def __init__(self, weight_IO: Tensor, dtype: torch.dtype, bias_O: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", weight_IO.detach().to(dtype).contiguous())
        self.register_buffer("bias", None if bias_O is None else bias_O.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Float32 (..., input) to float32 (..., output)."""
        product = x @ self.weight.float()
        return product if self.bias is None else product + self.bias


class Affine(nn.Module):
    """`x @ weight + bias` in one type, with the weight stored as the product reads it.

    `nn.Linear` keeps it transposed, and the exporter then names the transposed copy as it likes.

    Args:
        weight_OI: (output, input), as `nn.Linear` has it.
        bias_O: (output,).
        dtype: Of weight, bias and product.
    """

    def __init__(self, weight_OI: Tensor, bias_O: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("weight", weight_OI.detach().T.to(dtype).contiguous())
        self.register_buffer("bias", bias_O.detach().to(dtype))

    def forward(self, x: Tensor) -> Tensor:
        """(..., input) to (..., output)."""
        return x @ self.weight + self.bias


def attend(query_NLC: Tensor, key_NLC: Tensor, value_NLC: Tensor, heads: int) -> Tensor:
    """What each query takes from the values, heads side by side; (N, L of the queries, C), softmax in float32."""
    query, key, value = (part.unflatten(-1, (heads, -1)) for part in (query_NLC, key_NLC, value_NLC))
    logits = query.permute(0, 2, 1, 3) @ key.permute(0, 2, 3, 1)
    weights = logits.float().softmax(dim=-1).to(logits.dtype)
    return (weights @ value.permute(0, 2, 1, 3)).permute(0, 2, 1, 3).flatten(2)


def _scaled_queries(attention: nn.MultiheadAttention) -> tuple[Tensor, Tensor]:
    """Weight and bias of its input projection, with the scale of the logits inside."""
    # For CLIP's heads of 64 channels the scale is 1/8, a power of two: folding it in rounds nothing.
    scale = torch.ones(3 * attention.embed_dim, 1)
    scale[: attention.embed_dim] = attention.head_dim**-0.5
    return attention.in_proj_weight * scale, attention.in_proj_bias * scale[:, 0]


class PlainAttention(nn.Module):
    """Self-attention without mask or dropout.

    Args:
        attention: Its weights are taken.
        dtype: Of the products; the softmax is float32.
    """

    def __init__(self, attention: nn.MultiheadAttention, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads = attention.num_heads
        self.qkv = Affine(*_scaled_queries(attention), dtype)
        self.out = Affine(attention.out_proj.weight, attention.out_proj.bias, dtype)

    def forward(self, x_NLC: Tensor) -> Tensor:
        """Tokens (N, L, C) to (N, L, C), in the type of the weights."""
        return self.out(attend(*self.qkv(x_NLC).chunk(3, dim=-1), self.heads))


class ClassAttention(nn.Module):
    """What the class token alone gets from self-attention; the queries of all other tokens are not computed.

    Args:
        attention: Its weights are taken.
        dtype: Of the products; the softmax is float32.
    """

    def __init__(self, attention: nn.MultiheadAttention, dtype: torch.dtype) -> None:
        super().__init__()
        self.heads, width = attention.num_heads, attention.embed_dim
        weight, bias = _scaled_queries(attention)
        self.query = Affine(weight[:width], bias[:width], dtype)
        self.key_value = Affine(weight[width:], bias[width:], dtype)
        self.out = Affine(attention.out_proj.weight, attention.out_proj.bias, dtype)

    def forward(self, x_NLC: Tensor) -> Tensor:
        """Tokens (N, L, C), the class token first, to (N, 1, C), in the type of the weights."""
        return self.out(attend(self.query(x_NLC[:, :1]), *self.key_value(x_NLC).chunk(2, dim=-1), self.heads))


class PlainBlock(nn.Module):
    """One residual block of a CLIP vision transformer.

    Args:
        block: Its weights and activation are taken.
        dtype: Of the products.
        class_only: Give the class token only, the first.
    """

    def __init__(self, block: ResidualAttentionBlock, dtype: torch.dtype, *, class_only: bool) -> None:
        super().__init__()
        self.dtype = dtype
        self.class_only = class_only
        self.norm_1, self.norm_2 = float_norm(block.ln_1), float_norm(block.ln_2)
        self.attention = (ClassAttention if class_only else PlainAttention)(block.attn, dtype)
        self.widen = Affine(block.mlp.c_fc.weight, block.mlp.c_fc.bias, dtype)
        self.activation = block.mlp.gelu
        self.narrow = Affine(block.mlp.c_proj.weight, block.mlp.c_proj.bias, dtype)

    def forward(self, x_NLC: Tensor) -> Tensor:
        """Float32 residual stream (N, L, C) to the next, or to (N, 1, C)."""
        kept_NLC = x_NLC[:, :1] if self.class_only else x_NLC
        x_NLC = kept_NLC + self.attention(self.norm_1(x_NLC).to(self.dtype)).float()
        hidden = self.activation(self.widen(self.norm_2(x_NLC).to(self.dtype)))
        return x_NLC + self.narrow(hidden).float()


class PlainVit(nn.Module):
    """CLIP's vision transformer, pixels to embedding.

    Args:
        tower: open_clip's; its weights are taken.
        dtype: Of the products.
    """

    def __init__(self, tower: VisionTransformer, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.register_buffer("patches", tower.conv1.weight.detach().to(dtype))
        self.stride = tower.conv1.stride
        # The class token has no patch; a row of zeros stands where it goes, and it comes with its position.
        positions = tower.positional_embedding.detach().clone()
        positions[0] += tower.class_embedding.detach()
        self.register_buffer("positions", positions)
        self.norm_before, self.norm_after = float_norm(tower.ln_pre), float_norm(tower.ln_post)
        blocks = tower.transformer.resblocks
        # Only the class token is read: after the last keys and values, no other is computed.
        self.blocks = nn.ModuleList(
            PlainBlock(block, dtype, class_only=place == len(blocks)) for place, block in enumerate(blocks, start=1)
        )
        self.proj = StoredLinear(tower.proj, dtype)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Normalised float32 pixels to float32 embeddings (N, F)."""
        patches_NCHW = nn.functional.conv2d(pixels_NCHW.to(self.dtype), self.patches, stride=self.stride)
        patches_NLC = patches_NCHW.flatten(2).transpose(1, 2).float()
        x_NLC = self.norm_before(nn.functional.pad(patches_NLC, (0, 0, 1, 0)) + self.positions)
        for block in self.blocks:
            x_NLC = block(x_NLC)
        return self.proj(self.norm_after(x_NLC[:, 0]))


class CastIn(nn.Module):
    """A module in a type of its own, fed with float32.

    Args:
        module: Converted in place.
        dtype: Its type from now on.
    """

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype
        self.module = module.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """Convert, then apply."""
        return self.module(x.to(self.dtype))


def plain_mobilenet(trunk: MultiLevelMobileNet, dtype: torch.dtype) -> MultiLevelMobileNet:
    """Give a trunk the exported form, in place, and return it; it brings its pooled features to float32 itself."""
    net = fold_batch_norms(trunk).net
    net.blocks[EXACT_STAGES] = CastIn(net.blocks[EXACT_STAGES], dtype)
    net.blocks[EXACT_STAGES + 1 :].to(dtype)
    net.conv_head.to(dtype)
    return trunk


def float_norm(norm: nn.LayerNorm) -> nn.LayerNorm:
    """A float32 layer norm with the same parameters; open_clip's has casts of its own."""
    plain = nn.LayerNorm(norm.normalized_shape, norm.eps)
    plain.weight, plain.bias = norm.weight, norm.bias
    return plain


def fold_batch_norms(trunk: MultiLevelMobileNet) -> MultiLevelMobileNet:
    """Fold every batch norm of a timm trunk into the convolution before it, in place, and return the trunk.

    The names of timm's pairs say which belongs to which: `conv_pw` and `bn1` of one block stand in this order.
    """
    for module in trunk.modules():
        conv: nn.Conv2d | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                conv = child
            elif isinstance(child, BatchNormAct2d):
                assert conv is not None, name
                conv.weight, conv.bias = fuse_conv_bn_weights(
                    conv.weight,
                    conv.bias,
                    child.running_mean,
                    child.running_var,
                    child.eps,
                    child.weight,
                    child.bias,
                )
                setattr(module, name, child.act)
                conv = None
    return trunk

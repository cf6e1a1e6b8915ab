"""A ViT-B/32 checkpoint with random weights at CLIP's own scale, for trying precisions where CLIP is not to be had.

    python benchmarks/random_clip.py OUT.safetensors PHOTOS

Default initialisation tries nothing: activations stay near 1, attention is flat, and all photos score alike. What is
known of trained CLIP towers, and makes rounding hurt, is put in: a few channels of the residual stream that are tens
of times larger than the rest, attention logits of several units, layer norm gains far from 1, a constant part of the
embedding that most photos share, the logit scale of 100. The two projections are then fitted to PHOTOS and prompts so
that scores spread. Prints what came out, and writes it to benchmarks/results/random_clip.json.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from scoring_material import record
from torch import Tensor, nn

from defnet_infer.taxonomy import JOINT_SHAPE

OUTLIERS = 6
"""Channels of the residual stream that carry large values, different ones for every seed."""
OUTLIER_SIZE = 40.0
ATTENTION_LOGIT_STD = 2.5
BLOCK_SHARE = 0.35
"""Deviation that one attention or MLP adds to a residual stream of deviation 1."""
IMAGE_COSINE = 0.5
TEXT_COSINE = 0.7
"""Mean cosine between embeddings of different views, and of different prompts; pairs in CLIP are about as close."""
QUALITY_SHARE = 0.3
"""How far the direction in which photos differ most is turned towards the one from bad to perfect; 1 saturates."""
PHOTOS = 16


def random_clip(seed: int = 0) -> nn.Module:
    """An eval-mode `Defnet` whose image tower has CLIP-like activations; its projections are not fitted yet."""
    from defnet_train.config import ModelConfig
    from defnet_train.model import Defnet

    torch.manual_seed(seed)
    model = Defnet(ModelConfig(tower="ViT-B-32-quickgelu", weights="random")).eval()
    enliven(model.encoder.clip)
    with torch.no_grad():
        for head in model.heads.values():
            head.affine.weight.normal_(std=0.5)
    return model


def enliven(clip: nn.Module) -> None:
    """Give the image tower of a randomly initialised CLIP activations like those of a trained one, in place.

    Args:
        clip: Any with a ViT and OpenAI's module names; open_clip's have them too. Its projections are left as they are.
    """
    visual = clip.visual
    width = visual.conv1.out_channels
    channels = torch.randperm(width)[:OUTLIERS]
    with torch.no_grad():
        # Patches are smooth: weights with a random mean per colour see brightness, not only texture.
        visual.conv1.weight.normal_(std=0.02).add_(torch.randn(width, 3, 1, 1) * 0.004)
        visual.class_embedding.normal_(std=0.3)
        visual.positional_embedding.normal_(std=0.3)
        _gains(visual.ln_pre, 0.4)
        visual.ln_pre.weight[channels] = 4.0
        visual.ln_pre.bias[channels] = torch.randn(OUTLIERS).sign() * OUTLIER_SIZE / 2
        for block in visual.transformer.resblocks:
            _block(block, width, channels)
        _gains(visual.ln_post, 1.0)
        clip.logit_scale.fill_(float(np.log(100)))


def _gains(norm: nn.LayerNorm, typical: float) -> None:
    norm.weight.copy_(typical * torch.exp(0.4 * torch.randn_like(norm.weight)))
    norm.bias.normal_(std=0.1)


def _block(block: nn.Module, width: int, channels: Tensor) -> None:
    """One residual block, sized for layer norm outputs of deviation 1."""
    for norm in (block.ln_1, block.ln_2):
        # The outliers make up most of a token's deviation: gains give the other channels their size back.
        _gains(norm, 1.2)
        norm.weight[channels] *= 0.05
    attention, mlp = block.attn, block.mlp
    # A head's logit is the sum of 64 products over 8: its deviation is that of q times that of k.
    query_key = (ATTENTION_LOGIT_STD / width) ** 0.5
    attention.in_proj_weight[: 2 * width].normal_(std=query_key)
    attention.in_proj_weight[2 * width :].normal_(std=width**-0.5)
    attention.in_proj_bias.normal_(std=0.1)
    # Attention averages values, which shrinks them.
    attention.out_proj.weight.normal_(std=2 * BLOCK_SHARE * width**-0.5)
    attention.out_proj.bias.normal_(std=0.05)
    mlp.c_fc.weight.normal_(std=1.5 * width**-0.5)
    mlp.c_fc.bias.normal_(std=0.3).sub_(0.7)
    mlp.c_proj.weight.normal_(std=BLOCK_SHARE * (4 * width) ** -0.5)
    mlp.c_proj.bias.normal_(std=0.05)
    # Outliers grow through the depth, in every token.
    grown = block.mlp.c_proj.bias[channels]
    block.mlp.c_proj.bias[channels] = grown + torch.sign(torch.randn(OUTLIERS)) * OUTLIER_SIZE / 12


def fit_projection(projection: nn.Parameter, features_NC: Tensor, shared_cosine: float) -> Tensor:
    """Turn a projection so that embeddings of these inputs have this mean cosine.

    Args:
        projection: (C, E), set in place.
        features_NC: What it will be applied to.
        shared_cosine: In (0, 1).

    Returns:
        Unit direction (E,) along which the embeddings vary most.
    """
    mean_C = features_NC.mean(dim=0)
    centred_NC = features_NC - mean_C
    spread = centred_NC.square().sum(dim=1).mean().sqrt()
    # Only the direction that all inputs share is resized: rounding errors elsewhere keep their size beside the signal.
    share = spread * (shared_cosine / (1 - shared_cosine)) ** 0.5 / mean_C.norm()
    unit_C = mean_C / mean_C.norm()
    turn_CE = torch.linalg.qr(torch.randn(projection.shape))[0]
    with torch.no_grad():
        projection.copy_(turn_CE + (share - 1) * unit_C[:, None] * (unit_C @ turn_CE))
        projection.mul_(10 / spread)  # CLIP's embeddings have a norm near 10.
        return nn.functional.normalize(torch.pca_lowrank(centred_NC @ projection, q=2)[2][:, 0], dim=0)


def fit_text(model: nn.Module) -> Tensor:
    """Spread the prompts, which a random text tower hardly tells apart; the direction from bad to perfect, (E,)."""
    clip = model.encoder.clip
    trained = clip.text_projection
    clip.text_projection = nn.Parameter(torch.eye(len(trained)))
    with torch.inference_mode():
        features_JC = model.encoder.encode_text()
    clip.text_projection = trained
    fit_projection(trained, features_JC.clone(), TEXT_COSINE)
    with torch.inference_mode():
        text_QE = model.encoder.encode_text().unflatten(0, JOINT_SHAPE).mean(dim=(1, 2))
    return nn.functional.normalize(text_QE[-1] - text_QE[0], dim=0).clone()


def fit_images(model: nn.Module, crops: Tensor, overview: Tensor, quality_E: Tensor) -> None:
    """Spread these photos' views, and let what varies most among them weigh on quality."""
    visual = model.encoder.clip.visual
    trained, visual.proj = visual.proj, None
    with torch.inference_mode():
        features = [model.encoder.trunk_features(few).flatten(0, -2) for few in [*crops.split(2), *overview.split(32)]]
    visual.proj = trained
    turn_towards(trained, fit_projection(trained, torch.cat(features).clone(), IMAGE_COSINE), quality_E)


def turn_towards(projection: nn.Parameter, varies_E: Tensor, quality_E: Tensor) -> None:
    """Let what varies most among photos weigh on quality, in place; both directions are unit vectors, (E,)."""
    wanted_E = nn.functional.normalize(QUALITY_SHARE * quality_E + (1 - QUALITY_SHARE) * varies_E, dim=0)
    mirror_E = nn.functional.normalize(varies_E - wanted_E, dim=0)
    with torch.no_grad():
        # Householder: turns one into the other.
        projection.sub_(2 * (projection @ mirror_E)[:, None] * mirror_E)


def measured(model: nn.Module, crops: Tensor, overview: Tensor) -> dict[str, float]:
    """What was asked for and what came: activations of the first photos, spread of the scores of all."""
    streams, logits = [], []
    visual = model.encoder.clip.visual

    def watch(block: nn.Module, given: tuple[Tensor, ...], result: Tensor) -> None:
        streams.append(result)
        attention, x = block.attn, block.ln_1(given[0])
        q, k, _ = nn.functional.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, dim=-1)
        heads = (attention.num_heads, attention.head_dim)
        q, k = q.unflatten(-1, heads).transpose(1, 2), k.unflatten(-1, heads).transpose(1, 2)
        logits.append(q @ k.transpose(-1, -2) / attention.head_dim**0.5)

    hooks = [block.register_forward_hook(watch) for block in visual.transformer.resblocks]
    with torch.inference_mode():
        text_EJ = model.text_matrix()
        model.score_views(crops[:2], overview[:2], text_EJ)
        for hook in hooks:
            hook.remove()
        outputs = [model.score_views(c, o, text_EJ) for c, o in zip(crops.split(4), overview.split(4), strict=True)]
    last = streams[-1]
    return {
        "residual_median": float(last.abs().median()),
        "residual_first_block_max": float(streams[0].abs().max()),
        "residual_last_block_max": float(last.abs().max()),
        "attention_logit_std": float(torch.stack([one.std() for one in logits]).mean()),
        "attention_logit_max": float(max(one.abs().max() for one in logits)),
        "score_std": float(torch.cat([one["score"] for one in outputs]).std()),
        "fused_score_std": float(torch.cat([one["fused_score"] for one in outputs]).std()),
    }


def main() -> None:
    from defnet_infer import photos, views
    from defnet_infer.inputs import find
    from defnet_train.checkpoint import save_checkpoint
    from defnet_train.config import ModelConfig, TrainConfig

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("photos", type=Path)
    arguments = parser.parse_args()
    model = random_clip()
    rule = model.contract().preprocess
    names = find([arguments.photos]).names
    chosen = names[:: max(1, len(names) // PHOTOS)][:PHOTOS]
    made = [views.make(photos.decode(name).image, rule) for name in chosen]
    crops = torch.from_numpy(np.stack([one.crops for one in made]))
    overview = torch.from_numpy(np.stack([one.overview for one in made]))
    fit_images(model, crops, overview, fit_text(model))
    config = TrainConfig(model=ModelConfig(tower="ViT-B-32-quickgelu", weights="random"))
    save_checkpoint(arguments.out, model, config, {"photos": {}, "calibration": 1.0})
    record("random_clip", {"photos": len(chosen), **measured(model, crops, overview)})


if __name__ == "__main__":
    main()

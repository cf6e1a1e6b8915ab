"""The five quality levels, nine scenes and eleven distortions, and the 495 sentences made of them.

The one home of every label. A class is an id; ids follow LIQE's order, so label files of that
project need no translation. What a class is called in a prompt is a `PromptPreset`, so wording can
change without touching a label.

A joint class is (quality q, scene s, distortion d) with index ``j = 99 q + 11 s + d``: a vector of 495
reshapes to (5, 9, 11) without a permutation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

QUALITIES = ("bad", "poor", "fair", "good", "perfect")
QUALITY_VALUES = (1.0, 2.0, 3.0, 4.0, 5.0)
SCENES = (
    "animal",
    "cityscape",
    "human",
    "indoor",
    "landscape",
    "night",
    "plant",
    "still life",
    "others",
)
DISTORTIONS = (
    "JPEG2000",
    "JPEG",
    "noise",
    "blur",
    "color",
    "contrast",
    "over-exposure",
    "under-exposure",
    "spatial",
    "quantization",
    "other",
)
CLASSES = {"quality": QUALITIES, "scene": SCENES, "distortion": DISTORTIONS}
"""Task -> names of its classes, in the order of its probabilities."""
TASKS = tuple(CLASSES)
JOINT_SHAPE = (len(QUALITIES), len(SCENES), len(DISTORTIONS))
JOINT_COUNT = len(QUALITIES) * len(SCENES) * len(DISTORTIONS)
SCORE_RANGE = (QUALITY_VALUES[0], QUALITY_VALUES[-1])

PresetName = Literal["paper", "liqe", "pyiqa"]


@dataclass(frozen=True, kw_only=True)
class PromptPreset:
    """How the classes are worded. Scene and distortion words are in id order."""

    name: PresetName
    scene_words: tuple[str, ...]
    distortion_words: tuple[str, ...]
    article_by_sound: bool
    """Write "an" before a vowel. LIQE always writes "a"; its weights were trained on that."""
    full_stop: bool
    plain_quality: bool = False
    """A sentence of quality alone reads "a photo with good quality"."""

    def sentence(self, quality: int, scene: int | None, distortion: int | None) -> str:
        """The prompt of one joint class, by ids; None leaves the words of that task out.

        Example:
            >>> PRESETS["paper"].sentence(0, 0, 3)
            'a photo of an animal with blur artifacts, which is of bad quality.'
            >>> PRESETS["paper"].sentence(0, None, 3)
            'a photo with blur artifacts, which is of bad quality.'
            >>> PRESETS["pyiqa"].sentence(0, None, None)
            'a photo with bad quality'
        """
        words = "a photo"
        if self.plain_quality and scene is None and distortion is None:
            return f"{words} with {QUALITIES[quality]} quality" + ("." if self.full_stop else "")
        if scene is not None:
            scene_word = self.scene_words[scene]
            article = "an" if self.article_by_sound and scene_word[0] in "aeiou" else "a"
            words += f" of {article} {scene_word}"
        if distortion is not None:
            words += f" with {self.distortion_words[distortion]} artifacts"
        return f"{words}, which is of {QUALITIES[quality]} quality" + ("." if self.full_stop else "")

    def sentences(self, *, scene: bool = True, distortion: bool = True) -> list[str]:
        """All prompts in joint order: quality outermost, distortion innermost.

        Args:
            scene: Whether they name a scene.
            distortion: Whether they name a distortion. With both there are 495, with neither five.
        """
        scenes: list[int | None] = [*range(len(SCENES))] if scene else [None]
        distortions: list[int | None] = [*range(len(DISTORTIONS))] if distortion else [None]
        return [self.sentence(q, s, d) for q in range(len(QUALITIES)) for s in scenes for d in distortions]


_LIQE_SCENES = ("animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others")
_LIQE_DISTORTIONS = (
    "jpeg2000 compression",
    "jpeg compression",
    "noise",
    "blur",
    "color",
    "contrast",
    "overexposure",
    "underexposure",
    "spatial",
    "quantization",
    "other",
)

PRESETS: dict[str, PromptPreset] = {
    # DEFNet's wording: the sentence of Section 3.1 with the names of Supplement D, put in id order.
    "paper": PromptPreset(
        name="paper",
        scene_words=(
            "animal",
            "cityscape",
            "human",
            "indoor scene",
            "landscape",
            "night scene",
            "plant",
            "still-life",
            "others",
        ),
        distortion_words=(
            "JPEG2000 compression",
            "JPEG compression",
            "noise",
            "blur",
            "color-related",
            "contrast",
            "over-exposure",
            "under-exposure",
            "spatially-localized",
            "quantization",
            "others",
        ),
        article_by_sound=True,
        full_stop=True,
    ),
    # What LIQE's and DEFNet's published weights were trained with.
    "liqe": PromptPreset(
        name="liqe",
        scene_words=_LIQE_SCENES,
        distortion_words=_LIQE_DISTORTIONS,
        article_by_sound=False,
        full_stop=False,
    ),
    # pyiqa's LIQE: the same 495 sentences in the same order, scene before distortion; for quality alone five others.
    "pyiqa": PromptPreset(
        name="pyiqa",
        scene_words=_LIQE_SCENES,
        distortion_words=_LIQE_DISTORTIONS,
        article_by_sound=False,
        full_stop=False,
        plain_quality=True,
    ),
}


def joint_index(quality: int, scene: int, distortion: int) -> int:
    """Position of a joint class in the 495-vector."""
    return (quality * len(SCENES) + scene) * len(DISTORTIONS) + distortion

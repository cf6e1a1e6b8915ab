"""The 495 sentences: what the text tower of a published checkpoint was trained on must not change by a letter."""

from __future__ import annotations

import open_clip
import pytest

from defnet_infer.taxonomy import DISTORTIONS, PRESETS, QUALITIES, SCENES, joint_index


@pytest.mark.parametrize("preset", [*PRESETS])
def test_every_joint_class_has_a_sentence_of_its_own(preset: str) -> None:
    sentences = PRESETS[preset].sentences()
    assert len(sentences) == len(set(sentences)) == 495


@pytest.mark.parametrize("preset", [*PRESETS])
def test_sentences_stand_in_joint_order(preset: str) -> None:
    sentences = PRESETS[preset].sentences()
    for ids in [(0, 0, 0), (4, 8, 10), (1, 0, 0), (0, 1, 0), (0, 0, 1), (2, 7, 5)]:
        assert sentences[joint_index(*ids)] == PRESETS[preset].sentence(*ids)


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ((0, 0, 3), "a photo of an animal with blur artifacts, which is of bad quality."),
        ((1, 3, 0), "a photo of an indoor scene with JPEG2000 compression artifacts, which is of poor quality."),
        ((2, 7, 8), "a photo of a still-life with spatially-localized artifacts, which is of fair quality."),
        ((3, 5, 4), "a photo of a night scene with color-related artifacts, which is of good quality."),
        ((4, 8, 10), "a photo of an others with others artifacts, which is of perfect quality."),
    ],
)
def test_the_paper_preset_reads_as_in_the_paper(ids: tuple[int, int, int], sentence: str) -> None:
    assert PRESETS["paper"].sentence(*ids) == sentence


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        ((0, 0, 0), "a photo of a animal with jpeg2000 compression artifacts, which is of bad quality"),
        ((2, 7, 7), "a photo of a still_life with underexposure artifacts, which is of fair quality"),
        ((4, 3, 10), "a photo of a indoor with other artifacts, which is of perfect quality"),
    ],
)
def test_the_liqe_preset_reads_as_its_weights_were_trained(ids: tuple[int, int, int], sentence: str) -> None:
    assert PRESETS["liqe"].sentence(*ids) == sentence


@pytest.mark.parametrize("preset", ["paper", "liqe"])
def test_no_sentence_is_cut_by_the_context_of_the_text_tower(preset: str) -> None:
    tokenizer = open_clip.get_tokenizer("ViT-B-32-quickgelu")
    tokens = tokenizer(PRESETS[preset].sentences())
    end = tokens.max()
    assert tokens.shape == (495, 77)
    # A sentence that was cut has its end token in the last place.
    assert ((tokens == end).sum(1) == 1).all()
    assert (tokens[:, -1] == 0).all()


def test_both_presets_word_every_class() -> None:
    assert (len(QUALITIES), len(SCENES), len(DISTORTIONS)) == (5, 9, 11)
    for preset in PRESETS.values():
        assert len(set(preset.scene_words)) == 9
        assert len(set(preset.distortion_words)) == 11


def test_pyiqas_495_sentences_are_liqes_in_the_order_of_its_nested_loops() -> None:
    words = PRESETS["pyiqa"]
    looped = [
        f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
        for quality in QUALITIES
        for scene in words.scene_words
        for distortion in words.distortion_words
    ]
    assert words.sentences() == looped == PRESETS["liqe"].sentences()


def test_of_quality_alone_pyiqa_words_it_in_its_own_way() -> None:
    sentences = PRESETS["pyiqa"].sentences(scene=False, distortion=False)
    assert sentences == [f"a photo with {quality} quality" for quality in ("bad", "poor", "fair", "good", "perfect")]
    assert PRESETS["liqe"].sentences(scene=False, distortion=False)[0] == "a photo, which is of bad quality"

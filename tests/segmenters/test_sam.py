"""SAM at work, on a small network of the package's own classes, against the package's own predictor."""

import hashlib
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from torch import nn

from segmenters import sam
from segmenters.options import SegmenterOptions, open_segmenter
from segmenters.prompts import Prompt
from segmenters.sam_checkpoint import load_checkpoint
from segmenters.segmenter import Candidate, Photo
from utils.errors import ConfigError, DataError, RunError

OpenSam = Callable[..., sam.SamSegmenter]
Passes = Callable[[sam.SamSegmenter], AbstractContextManager[dict[str, int]]]
POINT, BOX = Prompt(((25, 25),), (1,)), Prompt(box=(10, 10, 40, 40))
MIXED = [
    POINT,
    BOX,
    Prompt(((60, 30), (5, 5)), (1, 0)),
    Prompt(((60, 30), (5, 5)), (1, 0), (50, 10, 80, 50)),
    Prompt(((85.5, 5.25),), (1,)),
    Prompt(((20, 20),), (1,), (10, 10, 40, 40)),
    Prompt(((15, 15), (35, 35), (70, 30)), (1, 1, 0)),
    Prompt(box=(55, 20, 80.5, 50)),
    Prompt(((65, 35),), (1,)),
    Prompt(((0, 0), (90, 60)), (0, 0), (2, 2, 88, 58)),
]


def by_predictor(network: nn.Module, photo: Photo, prompt: Prompt) -> tuple[Any, Any]:
    predictor = SamPredictor(network)
    predictor.set_image(photo)
    masks, scores, _ = predictor.predict(
        np.array(prompt.points) if prompt.points else None,
        np.array(prompt.labels) if prompt.points else None,
        None if prompt.box is None else np.array(prompt.box),
        multimask_output=len(prompt.points) == 1 and prompt.box is None,
    )
    return masks, scores


def assert_same(found: list[list[Candidate]], expected: list[list[Candidate]]) -> None:
    """Sums in another order differ in the last bits, which may move a pixel on a border."""
    assert [len(one) for one in found] == [len(one) for one in expected]
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-5)
        assert np.count_nonzero(one.mask != other.mask) <= one.mask.size // 1000


@pytest.mark.parametrize("prompt", MIXED, ids=range(len(MIXED)))
def test_one_prompt_gives_the_bits_of_the_packages_predictor(
    prompt: Prompt, photo: Photo, small: OpenSam, small_sam_network: nn.Module
) -> None:
    (candidates,) = small().segment(photo, [prompt])
    masks, scores = by_predictor(small_sam_network, photo, prompt)
    assert len(candidates) == (3 if prompt in (POINT, MIXED[4], MIXED[8]) else 1)
    np.testing.assert_array_equal([one.mask for one in candidates], masks)
    np.testing.assert_array_equal([one.score for one in candidates], scores)
    assert candidates[0].mask.dtype == bool
    assert candidates[0].mask.shape == (60, 90)


def test_batches_answer_as_single_prompts_do_and_take_few_passes(photo: Photo, small: OpenSam, passes: Passes) -> None:
    one_by_one = small(prompts_at_once=1)
    expected = [one_by_one.segment(photo, [prompt])[0] for prompt in MIXED]
    assert len({candidate.area for one in expected for candidate in one}) > 10  # the answers differ by prompt
    for at_once, decoder in ((64, 3), (3, 4), (2, 6), (1, 10)):  # tokens: 2 for five prompts, 3 for two, 4 for three
        segmenter = small(prompts_at_once=at_once)
        with passes(segmenter) as counts:
            assert_same(segmenter.segment(photo, MIXED), expected)
        assert counts == {"encoder": 1, "decoder": decoder}


def test_a_photo_is_encoded_once_however_often_it_is_asked_about(
    photo: Photo, small: OpenSam, passes: Passes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sam._EVERYTHING, "points_per_side", 2)
    segmenter = small()
    with passes(segmenter) as counts:
        segmenter.segment(photo, [POINT])
        segmenter.segment(photo.copy(), [BOX])
        segmenter.everything(photo)
        assert counts["encoder"] == 1
        segmenter.segment(photo[::-1], [BOX])
        assert counts["encoder"] == 2
        assert segmenter.segment(photo, []) == []


def test_users_at_once_get_their_own_answers(photo: Photo, small: OpenSam, passes: Passes) -> None:
    photos = [photo, np.ascontiguousarray(photo[:, ::-1]), np.ascontiguousarray(photo.transpose(1, 0, 2))]
    jobs = [(photos[number % 3], MIXED[number % 2]) for number in range(12)]
    single = small()
    expected = [single.segment(shown, [prompt]) for shown, prompt in jobs]
    segmenter = small()
    with passes(segmenter) as counts, ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda job: segmenter.segment(job[0], [job[1]]), jobs))
    assert counts["encoder"] == 3
    for found, wanted in zip(answers, expected, strict=True):
        assert_same(found, wanted)


def test_everything_is_what_the_packages_generator_finds(
    photo: Photo, small: OpenSam, small_sam_network: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sam._EVERYTHING, "points_per_side", 4)
    monkeypatch.setitem(sam._EVERYTHING, "stability_score_thresh", 0.5)
    monkeypatch.setitem(sam._EVERYTHING, "box_nms_thresh", 1.0)  # the small network's masks share their boxes
    found = small(prompts_at_once=5).everything(photo)
    generator = SamAutomaticMaskGenerator(small_sam_network, **sam._EVERYTHING)
    records = generator.generate(photo)
    scores = [candidate.score for candidate in found]
    assert len(scores) >= 2
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == pytest.approx(max(record["predicted_iou"] for record in records), abs=1e-5)
    for candidate in found:
        assert min(np.count_nonzero(candidate.mask != record["segmentation"]) for record in records) <= 5


def test_everything_of_a_photo_in_which_nothing_is_good_enough_is_nothing(
    photo: Photo, small: OpenSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sam._EVERYTHING, "points_per_side", 2)
    monkeypatch.setitem(sam._EVERYTHING, "pred_iou_thresh", 9.0)
    assert small().everything(photo) == []


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (300, 2), (3, 200)])
def test_odd_photos_give_masks_of_their_size(size: tuple[int, int], small: OpenSam) -> None:
    height, width = size
    prompts = [Prompt(((width / 2, height / 2),), (1,)), Prompt(box=(0, 0, width, height))]
    answers = small().segment(np.full((*size, 3), 90, dtype=np.uint8), prompts)
    assert {candidate.mask.shape for candidates in answers for candidate in candidates} == {size}


def test_photo_of_which_nothing_would_be_left_is_refused(small: OpenSam) -> None:
    with pytest.raises(DataError, match="300×1 pixels is too narrow for SAM"):
        small().segment(np.zeros((1, 300, 3), dtype=np.uint8), [POINT])
    with pytest.raises(DataError, match="1×300 pixels is too narrow for SAM"):
        small().everything(np.zeros((300, 1, 3), dtype=np.uint8))


def test_source_and_settings_name_the_weights(small: OpenSam, small_sam: Path) -> None:
    digest = hashlib.sha256(small_sam.read_bytes()).hexdigest()
    segmenter = small()
    assert segmenter.source == f"sam_vit_32x3:{digest[:12]}"
    settings = json.loads(json.dumps(segmenter.settings))
    assert settings["checkpoint_sha256"] == digest
    assert settings["image_size"] == 128
    assert settings["precision"] == "fp32"
    assert settings["everything"]["points_per_side"] == 32
    assert (settings["version"], settings["device"], settings["tf32"]) == (1, "cpu", "none")
    assert settings["prompts_at_once"] == 64
    assert small_sam.name not in json.dumps(settings), "another name of the file is no other segmenter"


def test_answers_come_one_by_one_in_the_order_of_the_prompts(
    photo: Photo, small: OpenSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    enlarged: list[object] = []
    real = sam.SamSegmenter._enlarged

    def enlarge(self: sam.SamSegmenter, *arguments: Any) -> Any:  # noqa: ANN401  # passed on as they are
        enlarged.append(arguments)
        return real(self, *arguments)

    monkeypatch.setattr(sam.SamSegmenter, "_enlarged", enlarge)
    expected = small().segment(photo, MIXED)
    enlarged.clear()
    answers = small().answers(photo, MIXED)
    first = next(answers)
    assert len(enlarged) == len(first) == 3, "masks of the photo's size are made when it is their turn"
    assert_same([first, *answers], expected)
    monkeypatch.setattr(sam, "_PROMPTS_AT_ONCE", 2)  # prompts whose maps wait
    assert_same(small(prompts_at_once=2).segment(photo, MIXED), expected)


def test_half_precision_is_the_encoders_alone(photo: Photo, small: OpenSam) -> None:
    exact, rounded = small().embedding(photo), small(precision="bf16").embedding(photo)
    assert rounded.dtype == torch.float32
    difference = (exact - rounded).norm() / exact.norm()
    assert 1e-5 < difference < 0.03  # bf16 keeps 8 bits


def test_no_tensor_is_float64_which_apples_gpus_lack(
    photo: Photo, small: OpenSam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sam._EVERYTHING, "points_per_side", 2)
    segmenter = small()
    seen: set[torch.dtype] = set()

    def note(_module: object, _inputs: object, named: dict[str, Any]) -> None:
        seen.update(tensor.dtype for tensor in (*(named["points"] or ()), named["boxes"]) if tensor is not None)

    hook = segmenter._network.prompt_encoder.register_forward_pre_hook(note, with_kwargs=True)
    segmenter.segment(photo, MIXED)
    segmenter.everything(photo)
    hook.remove()
    assert seen == {torch.float32, torch.int32}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_gpu_gives_the_masks_of_the_cpu(
    photo: Photo, small: OpenSam, small_sam: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sam._EVERYTHING, "points_per_side", 4)
    options = SegmenterOptions(name="sam", checkpoint=str(small_sam), device="cuda", precision="fp32")
    found, expected = (one.segment(photo, MIXED) for one in (open_segmenter(options), small()))
    for one, other in zip(chain(*found), chain(*expected), strict=True):
        assert one.score == pytest.approx(other.score, abs=0.05)
        assert np.mean(one.mask != other.mask) < 0.05  # the GPU rounds products to fewer bits
    half = open_segmenter(replace(options, precision="auto"))
    assert half.settings["precision"] == "bf16"
    half.everything(photo)


def test_embedding_that_is_not_finite_stops(small_sam: Path, photo: Photo) -> None:
    checkpoint = load_checkpoint(small_sam, None)
    checkpoint.network.image_encoder.pos_embed.fill_(1e38)
    segmenter = sam.SamSegmenter(checkpoint, "cpu", "fp32", 1, None)
    with pytest.raises(RunError, match=r"set segmenter\.precision to fp32"):
        segmenter.segment(photo, [POINT])


def test_options_open_sam(small_sam: Path, photo: Photo, small: OpenSam) -> None:
    segmenter = open_segmenter(SegmenterOptions(name="sam", checkpoint=str(small_sam), device="cpu"))
    assert segmenter.settings == small().settings
    assert_same(segmenter.segment(photo, [BOX]), small().segment(photo, [BOX]))


@pytest.mark.parametrize(
    ("name", "value"),
    [("checkpoint", "sam.pth"), ("device", "cpu"), ("precision", "fp32"), ("prompts_at_once", 1), ("embeddings", "e")],
)
def test_options_of_sam_are_refused_beside_grabcut(name: str, value: Any) -> None:  # noqa: ANN401  # of many types
    with pytest.raises(ConfigError, match=rf"^segmenter\.{name} is for SAM"):
        SegmenterOptions(**{name: value})
    SegmenterOptions(name="sam", **{name: value})


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_device_that_is_not_there_is_refused(small_sam: Path) -> None:
    with pytest.raises(ConfigError, match=r"^segmenter\.device is cuda, but this machine has"):
        open_segmenter(SegmenterOptions(name="sam", checkpoint=str(small_sam), device="cuda"))

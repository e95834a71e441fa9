"""From a click to an answer, without a browser."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.new_pairs import NewPair
from experiments.click.answer import Answer, Answerer
from experiments.click.command import make_answerer
from experiments.click.options import ClickOptions
from experiments.click.panels import answer_panel, headline, maps_panel
from experiments.click.state import Ask, Session
from experiments.prediction.document import percent
from experiments.prediction.predictor import ANOTHER, AS_GIVEN, WITH, WITHOUT, load_predictor
from segmenters.options import SegmenterOptions
from segmenters.prompts import Prompt


def middle(mask: np.ndarray) -> tuple[float, float]:
    rows, columns = np.nonzero(mask)
    return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5


def click(answerer: Answerer, number: int, **ask: object) -> tuple[Session, Answer]:
    """Open an example and click into the middle of the food whose mask is known."""
    session = answerer.open_example(Session(), number)
    mask = answerer.examples[number].mask
    assert mask is not None
    return answerer.answer(session, Ask(session.key, Prompt((middle(mask),), (1,)), **ask))  # type: ignore[arg-type]


def test_the_answer_is_the_models_own_for_the_mask_that_is_shown(answerer: Answerer) -> None:
    session, answer = click(answerer, 0)
    assert session.photo is not None
    assert np.array_equal(answer.roi + answer.extra_roi, session.photo)
    assert np.array_equal(answer.roi.any(axis=2), answer.mask & session.photo.any(axis=2))
    pair = NewPair(session.photo, answer.mask)
    expected = answerer.predictor.probabilities(answerer.predictor.logits([pair]))[0]
    assert answer.main == pytest.approx(expected, abs=1e-6)
    assert list(answer.probabilities) == [WITH, WITHOUT]
    best = answerer.predictor.classes[int(expected.argmax())]
    assert headline(answer, answerer.predictor.classes).startswith(best)


def test_lent_surroundings_are_those_of_the_photo_that_was_chosen(answerer: Answerer) -> None:
    other = answerer.examples[1]
    assert other.mask is not None
    session, answer = click(answerer, 0, context="example 1")
    assert session.photo is not None
    pair = NewPair(session.photo, answer.mask)
    expected = answerer.predictor.what_if(pair, NewPair(other.photo, other.mask))[ANOTHER]
    assert answer.probabilities[ANOTHER] == pytest.approx(expected, abs=1e-9)
    assert answer.lent == other.name


def test_candidates_go_from_small_to_large_and_one_can_be_chosen(answerer: Answerer) -> None:
    answers = [click(answerer, 0, candidate=place)[1] for place in range(click(answerer, 0)[1].candidates)]
    areas = [np.count_nonzero(answer.mask) for answer in answers]
    assert areas == sorted(areas)
    assert [answer.candidate for answer in answers] == list(range(len(answers)))


def test_a_grown_mask_is_larger_and_the_segmenter_is_not_asked_again(
    answerer: Answerer, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, answer = click(answerer, 0)
    assert session.found is not None
    monkeypatch.setattr(type(answerer.segmenters["grabcut"]), "segment", None)  # a call would fail
    _, grown = answerer.answer(session, Ask(session.key, session.found.prompt, growth=0.3))
    assert np.count_nonzero(grown.mask) > np.count_nonzero(answer.mask)


def test_photos_that_were_clicked_on_lend_their_surroundings_later(answerer: Answerer) -> None:
    session, _ = click(answerer, 0)
    assert [one.key for one in answerer.contexts(session)] == [f"example {n}" for n in range(1, len(answerer.examples))]
    later = answerer.open_example(session, 1)
    keys = [one.key for one in answerer.contexts(later)]
    assert keys[0] == "example 0"
    assert "example 1" not in keys
    assert answerer.contexts(later)[0].pair.mask is session.mask


def test_the_maps_are_those_of_the_class_that_was_told(answerer: Answerer) -> None:
    session, answer = click(answerer, 0)
    assert session.told == int(answer.main.argmax())
    maps = answerer.maps(session)
    assert list(maps) == ["roi", "extra_roi"]
    assert "map of the food" in maps_panel(maps, "tomato")
    assert answerer.maps(Session()) == {}


def test_a_model_of_one_view_answers_without_lent_surroundings(answerer: Answerer, tiny_runs: Path) -> None:
    one = replace(answerer, predictor=load_predictor(tiny_runs / "roi", device="cpu", precision="fp32"))
    assert one.contexts(one.start()) == []
    session, answer = click(one, 0)
    assert list(answer.probabilities) == [AS_GIVEN]
    assert "This model sees one cut-out alone: the food (roi)." in answer_panel(answer, one.predictor)
    page = answer_panel(answer, one.predictor)
    assert page.count("not given to this model") == page.count('class="rv-unseen"') == 1
    maps = one.maps(session)
    assert list(maps) == ["roi"]
    assert "%" not in maps_panel(maps, "tomato")


def test_sam_is_offered_first_where_its_checkpoint_is_given(tiny_runs: Path, pair_tree: Path, small_sam: Path) -> None:
    options = ClickOptions(
        run=str(tiny_runs / "roi"),
        examples=str(pair_tree.parent / "archive"),
        segmenter=SegmenterOptions(name="sam", checkpoint=str(small_sam), device="cpu"),
        device="cpu",
    )
    offered = make_answerer(options).segmenters
    assert list(offered) == ["sam", "grabcut"]
    assert offered["sam"].source.startswith("sam")


def test_two_visitors_at_once_each_get_their_own_answer(answerer: Answerer) -> None:
    alone = {number: click(answerer, number)[1] for number in (0, 1)}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda turn: (turn % 2, click(answerer, turn % 2)[1]), range(12)))
    for number, answer in together:
        assert np.array_equal(answer.mask, alone[number].mask)
        assert answer.main == pytest.approx(alone[number].main, abs=1e-6)
    assert not np.array_equal(alone[0].mask, alone[1].mask)


def test_names_of_classes_and_photos_are_text_on_the_page(answerer: Answerer) -> None:
    _, answer = click(answerer, 0, context="example 1")
    object.__setattr__(answer, "lent", "<script>alert(1)</script>")
    page = answer_panel(answer, answerer.predictor)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_per_cents_never_round_to_certainty() -> None:
    assert [percent(value).replace("\u202f", " ") for value in (0.0, 0.001, 0.5, 0.994, 0.9999, 1.0)] == [
        "0 %", "<1 %", "50 %", "99 %", ">99 %", "100 %",
    ]  # fmt: skip

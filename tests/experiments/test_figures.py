"""What the pictures show, read back from the drawn objects, and whether a person can read them."""

import csv
import itertools
import warnings
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from PIL import Image
from sklearn.metrics import confusion_matrix

from experiments import figures
from experiments.confusion import confusion_counts, most_confused, save_confusion
from experiments.figures import elide, save_batch_mosaic, save_curves, save_per_class
from utils.batch import ViewSpec, normalise
from utils.metrics import per_class_table


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Figures in the order in which they were made."""
    made: list[Figure] = []

    class Recorded(Figure):
        def __init__(self, figsize: tuple[float, float], dpi: float) -> None:
            super().__init__(figsize=figsize, dpi=dpi)
            made.append(self)

    monkeypatch.setattr(figures, "Figure", Recorded)
    return made


def log_row(epoch: int, **splits: dict[str, float]) -> dict[str, Any]:
    row = {"epoch": epoch, "lr_backbone": 1e-4 * epoch, "lr_head": 1e-3 * epoch, "train": {"loss": 2.0, "top1": 0.5}}
    return row | splits


def lines(axes: Axes) -> dict[str, tuple[list[float], list[float]]]:
    return {
        str(line.get_label()): (list(np.asarray(line.get_xdata())), list(np.asarray(line.get_ydata())))
        for line in axes.get_lines()
    }


def boxes(texts: list[Text]) -> list[Bbox]:
    return [text.get_window_extent() for text in texts if text.get_text()]


def assert_inside(figure: Figure, texts: list[Text]) -> None:
    for text, box in zip([text for text in texts if text.get_text()], boxes(texts), strict=True):
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= figure.bbox.width, text
        assert box.y1 <= figure.bbox.height, text


def assert_apart(texts: list[Text]) -> None:
    found = boxes(texts)
    assert not any(one.overlaps(other) for one, other in itertools.pairwise(found))


def test_curves_show_every_logged_value_at_its_epoch(tmp_path: Path, drawn: list[Figure]) -> None:
    rows = [log_row(1, val={"top1": 0.3, "macro_f1": 0.2}), log_row(2), log_row(3, test={"top1": 0.6, "macro_f1": 0.4})]
    save_curves(rows, tmp_path / "curves.png")
    loss, score, rate = drawn[0].axes
    assert lines(loss) == {"train": ([1, 2, 3], [2.0, 2.0, 2.0])}
    assert lines(score) == {
        "train top-1": ([1, 2, 3], [0.5, 0.5, 0.5]),
        "val top-1": ([1], [0.3]),
        "test top-1": ([3], [0.6]),
        "val macro-F1": ([1], [0.2]),
        "test macro-F1": ([3], [0.4]),
    }
    assert lines(rate)["head"][1] == pytest.approx([1e-3, 2e-3, 3e-3])
    assert lines(rate)["backbone"][0] == [1, 2, 3]
    assert all(axes.get_xlabel() == "epoch" and axes.get_ylabel() for axes in drawn[0].axes)
    assert score.get_ylim() == (-0.02, 1.02)


def test_equal_rates_are_drawn_once_and_undefined_scores_not_at_all(tmp_path: Path, drawn: list[Figure]) -> None:
    row = log_row(1, val={"top1": 0.1, "macro_f1": None}) | {"lr_head": 1e-4}  # type: ignore[dict-item]  # undefined
    save_curves([row], tmp_path / "curves.png")
    assert list(lines(drawn[0].axes[2])) == ["backbone and head"]
    assert "val macro-F1" not in lines(drawn[0].axes[1])


@pytest.mark.parametrize("epochs", [1, 300])
def test_curves_are_readable_at_any_length(epochs: int, tmp_path: Path, drawn: list[Figure]) -> None:
    save_curves([log_row(e, val={"top1": 0.3, "macro_f1": 0.2}) for e in range(1, epochs + 1)], tmp_path / "c.png")
    for axes in drawn[0].axes:
        ticks = [tick for tick in axes.get_xticks() if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
        assert ticks == [int(tick) for tick in ticks]
        assert 1 <= len(ticks) <= 9
        legend = axes.get_legend()
        assert legend is not None
        assert_inside(drawn[0], [axes.title, axes.xaxis.label, axes.yaxis.label, *legend.get_texts()])


def test_confusions_are_counted_and_ranked_as_worked_by_hand() -> None:
    truth = np.array([0] * 10 + [1] * 5 + [2] * 4, dtype=np.int16)
    predicted = np.array([0] * 7 + [1] * 2 + [2] + [1] * 3 + [0] * 2 + [2] * 4)
    matrix = confusion_counts(truth, predicted, 4)
    assert (matrix == confusion_matrix(truth, predicted, labels=range(4))).all()
    # 0 → 1 and 1 → 0 are two pairs each; 2 of 5 is the larger share.
    assert most_confused(matrix, 10) == [(1, 0, 2), (0, 1, 2), (0, 2, 1)]
    assert most_confused(matrix, 1) == [(1, 0, 2)]
    assert most_confused(np.diag([3, 0]), 5) == []


def test_confusion_cells_hold_row_shares_and_their_colours(tmp_path: Path, drawn: list[Figure]) -> None:
    truth = np.array([0, 0, 0, 0, 1, 1])
    save_confusion(truth, np.array([0, 0, 0, 1, 1, 1]), ["ketchup", "chili $paste$", "absent"], tmp_path / "c.png")
    axes = drawn[0].axes[0]
    numbers = {(text.get_position()[1], text.get_position()[0]): text.get_text() for text in axes.texts}
    assert numbers == {(0, 0): "75", (0, 1): "25", (1, 1): "100"}
    assert [label.get_text() for label in axes.get_yticklabels()] == ["ketchup (4)", "chili $paste$ (2)", "absent (0)"]
    assert "Confusion matrix of 6 pairs, 83.3 % of them right" in [text.get_text() for text in drawn[0].texts]

    picture = np.asarray(Image.open(tmp_path / "c.png").convert("RGB"))

    def color(row: int, column: int) -> np.ndarray:
        x, y = axes.transData.transform((column - 0.3, row - 0.3))
        return np.asarray(picture[picture.shape[0] - 1 - int(y), int(x)].astype(int))

    assert color(1, 1).tolist() == [8, 48, 107], "100 % is the darkest blue"
    assert color(1, 0).tolist() == [255, 255, 255], "0 % is white"
    assert color(1, 1).sum() < color(0, 0).sum() < color(0, 1).sum() < 3 * 255
    assert np.ptp(color(2, 0)) == 0, "a class without pairs is grey"
    assert 200 < color(2, 0)[0] < 240


@pytest.mark.parametrize("classes", [1, 2, 21, 105])
def test_the_confusion_matrix_is_readable(classes: int, tmp_path: Path, drawn: list[Figure]) -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, classes, 3000)
    predicted = np.where(generator.random(3000) < 0.5, truth, generator.integers(0, classes, 3000))
    names = [f"class {number} {'with a long name' if number % 10 == 3 else ''}".strip() for number in range(classes)]
    save_confusion(truth, predicted, names, tmp_path / "confusion.png")
    figure = drawn[0]
    axes, _bar, panel = figure.axes
    rows = axes.get_yticklabels()
    below = [tick.label1 for tick in axes.xaxis.get_major_ticks()]
    assert len(rows) == classes
    for labels in (rows, below):
        assert_apart(labels)
        assert min(float(label.get_fontsize()) for label in labels) >= 5
    assert_inside(figure, [*rows, *below, *panel.texts, *figure.texts])
    listed = {round(float(text.xyann[1])): text for text in panel.texts if text.xyann[0] == 80}  # type: ignore[attr-defined]  # Annotation
    assert_apart(list(listed.values()))
    assert (len(listed) > 2) == (classes > 1), "a heading and the confusions, where there are any"
    width, height = Image.open(tmp_path / "confusion.png").size
    assert max(width, height) < 3600


def test_where_names_would_collide_only_some_are_written(
    tmp_path: Path, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "write_atomic", lambda *_: None)
    save_confusion(np.arange(240), np.arange(240), [f"class {n}" for n in range(240)], tmp_path / "confusion.png")
    labels = drawn[0].axes[0].get_yticklabels()
    assert [label.get_text() for label in labels] == [f"class {number} (1)" for number in range(0, 240, 2)]
    assert float(labels[0].get_fontsize()) >= 5


def test_an_empty_split_still_has_a_picture(tmp_path: Path) -> None:
    save_confusion(np.zeros(0, int), np.zeros(0, int), ["a", "b"], tmp_path / "confusion.png")
    assert Image.open(tmp_path / "confusion.png").format == "PNG"


def batch(pairs: int, views: dict[str, int]) -> tuple[dict[str, torch.Tensor], dict[str, ViewSpec], torch.Tensor]:
    specs = {name: ViewSpec(size, (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)) for name, size in views.items()}
    color = torch.arange(pairs * 3).reshape(pairs, 3) * 5 % 256
    pixels = {name: color[:, :, None, None].expand(-1, -1, s.size, s.size).to(torch.uint8) for name, s in specs.items()}
    return {name: normalise(values, specs[name]) for name, values in pixels.items()}, specs, color


def test_the_mosaic_undoes_the_normalisation_and_keeps_pair_and_view_together(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    views, specs, color = batch(6, {"roi": 16, "extra_roi": 24})
    save_batch_mosaic(views, specs, [f"food {number}" for number in range(6)], tmp_path / "batch.png")
    assert len(drawn[0].axes) == 12
    for number, axes in enumerate(drawn[0].axes):
        shown = np.asarray(axes.images[0].get_array())
        assert shown.shape == ((16, 16, 3), (24, 24, 3))[number % 2]
        assert np.allclose(255 * shown, color[number // 2].numpy(), atol=1e-3)
        assert axes.get_title(loc="left") == ("roi", "extra_roi")[number % 2]
    titles = [text.get_text() for text in drawn[0].texts]
    assert [text for text in titles if text.startswith("food")] == [f"food {number}" for number in range(6)]
    assert any("roi: 16 px" in text and "extra_roi: 24 px" in text for text in titles)
    assert views["roi"].std() > 0, "the batch itself stays as it is"


@pytest.mark.parametrize(("pairs", "views"), [(50, ("roi", "extra_roi")), (20, ("photo",)), (1, ("roi",))])
def test_the_mosaic_shows_at_most_sixteen_pairs_with_names_that_do_not_collide(
    pairs: int, views: tuple[str, ...], tmp_path: Path, drawn: list[Figure]
) -> None:
    tensors, specs, _ = batch(pairs, dict.fromkeys(views, 8))
    names = ["a class name that is far longer than its two pictures are wide"] * pairs
    save_batch_mosaic(tensors, specs, names, tmp_path / "batch.png")
    assert len(drawn[0].axes) == min(pairs, 16) * len(views)
    texts = [text for text in drawn[0].texts if text.get_text().startswith("a class")]
    assert len(texts) == min(pairs, 16)
    assert_apart(texts)
    assert_inside(drawn[0], list(drawn[0].texts))


def test_per_class_scores_read_back_from_the_file(tmp_path: Path) -> None:
    table = per_class_table(np.array([0, 0, 1]), np.array([0, 1, 1]), 3)
    save_per_class(table, ["rice", 'sauce, "red"', "김치"], tmp_path / "per_class.csv")
    data = (tmp_path / "per_class.csv").read_bytes()
    assert b"\r" not in data
    rows = list(csv.DictReader(data.decode("utf-8").splitlines()))
    assert [row["class"] for row in rows] == ["rice", 'sauce, "red"', "김치"]
    assert (rows[0]["recall"], rows[0]["precision"], rows[1]["precision"]) == ("0.500000", "1.000000", "0.500000")
    assert (rows[2]["support"], rows[2]["predicted"], rows[2]["f1"]) == ("0", "0", "")


def test_drawing_leaves_matplotlib_as_it_was(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_curves([log_row(1)], tmp_path / "curves.png")
        save_confusion(np.array([0, 1]), np.array([1, 1]), ["a", "b"], tmp_path / "confusion.png")
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["confusion.png", "curves.png"]


def test_a_drawing_that_fails_leaves_no_file(tmp_path: Path) -> None:
    def fail(_: Figure) -> None:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        figures.draw(tmp_path / "picture.png", (2, 2), fail)
    assert list(tmp_path.iterdir()) == []


def test_elide_keeps_the_length() -> None:
    assert elide("rice", 4) == "rice"
    assert elide("brown rice", 7) == "brown…"
    assert len(elide("x" * 50, 20)) == 20

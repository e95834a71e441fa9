"""What a model says of itself after each epoch: in the epoch's line, and as a picture."""

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from experiments import figures, model_facts
from experiments.model_facts import facts_line, save_view_shares


def test_an_epochs_line_tells_the_views_that_were_looked_at() -> None:
    assert facts_line({}) == facts_line({"temperature": 0.5}) == []
    assert facts_line({"view_shares": [0.314, 0.12, 0.566], "temperature": 2.0}) == ["views 31/12/57 %"]
    many = [0.01] * 65
    many[41] = 0.36
    assert facts_line({"view_shares": many}) == ["most looked at: view 41, 36 %"]


def test_a_model_that_chooses_no_view_has_no_picture(tmp_path: Path) -> None:
    save_view_shares([{"epoch": 1}, {"epoch": 2, "model": {"other": 3}}], tmp_path / "views.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("views", "epochs"), [(6, 3), (65, 40)])
def test_shares_are_drawn_by_view_and_epoch(
    views: int, epochs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []

    def draw(path: Path, size: tuple[float, float], fill: Callable[[Figure], None]) -> None:
        def noted(figure: Figure) -> None:
            fill(figure)
            drawn.append(figure)

        figures.draw(path, size, noted)

    monkeypatch.setattr(model_facts, "draw", draw)
    shares = [[0.0] * views for _ in range(epochs)]
    for epoch in range(epochs):
        shares[epoch][epoch % views] = 0.75
        shares[epoch][-1] = 0.25
    rows = [{"epoch": epoch, "model": {"view_shares": one}} for epoch, one in enumerate(shares, start=1)]
    save_view_shares(rows, tmp_path / "views.png")
    axes, bar = drawn[0].axes
    image = axes.images[0].get_array()
    assert image is not None
    assert image.shape == (views, epochs)
    assert (image[1, 1], image[1, 0], image[views - 1, 0]) == (75, 0, 25)
    assert bar.get_ylim() == (0, 75)
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[:2] == ["whole", "view 1" if views == 6 else "view 4"]
    assert len(axes.texts) == (18 if views == 6 else 0)
    if views == 6:
        assert [text.get_text() for text in axes.texts[:3]] == ["75", "0", "0"]
    assert max(Image.open(tmp_path / "views.png").size) < 1300

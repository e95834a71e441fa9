"""What visitors and those who start the page do wrong."""

import io
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets.picture_size import PixelLimit
from experiments.click import command
from experiments.click.answer import Answerer
from experiments.click.command import check_address, click_command
from experiments.click.examples import find_examples
from experiments.click.options import ClickOptions, is_loopback, run_folder
from experiments.click.state import Ask, Session
from segmenters.prompts import Prompt
from utils.errors import ConfigError, DataError


def png(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (9, 99, 9)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "lunch.png: the file is empty"),
        (b"PDF, not a photo", "lunch.png: not a picture"),
        (png(40, 30)[:60], "lunch.png: damaged or cut short"),
        (png(1, 1), "lunch.png: the photo has 1×1 pixels, too few to click on"),
        (png(9000, 9), "lunch.png: the photo is a strip of 9000×9 pixels"),
        (png(1200, 900), "1200×900 pixels; this page takes photos of at most 1 million"),
    ],
)
def test_files_that_cannot_be_opened(answerer: Answerer, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        answerer.open_file(Session(), data, "lunch.png")


def asked(session: Session, *points: tuple[float, float, int], **rest: object) -> Ask:
    box = rest.pop("box", None)
    prompt = Prompt(tuple((x, y) for x, y, _ in points), tuple(label for *_, label in points), box)  # type: ignore[arg-type]
    return Ask(session.key, prompt, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("points", "rest", "message"),
    [
        ([(5, 5, 1), (5, 5, 0)], {}, "both In and Out; press Undo"),
        ([(5, 5, 0)], {}, "First click on the food, or draw a box"),
        ([(500, 5, 1)], {}, "outside of the photo, which is 48×36"),
        ([], {"box": (5.0, 5.0, 5.0, 9.0)}, "has no area"),
        ([(5, 5, 1)], {"box": (6.0, 6.0, 9.0, 9.0)}, "The click lies outside the box; press Undo"),
        ([(5, 5, 1)], {"segmenter": "sma"}, "no segmenter 'sma'"),
        ([(5, 5, 1)], {"context": "photo 9"}, "no longer at hand"),
    ],
)
def test_clicks_that_cannot_be_answered(
    answerer: Answerer, points: list[tuple[float, float, int]], rest: dict[str, object], message: str
) -> None:
    session = answerer.open_example(Session(), 0)
    with pytest.raises(DataError, match=message):
        answerer.answer(session, asked(session, *points, **rest))


def test_a_mask_of_the_whole_photo_is_refused(answerer: Answerer) -> None:
    plain = answerer.open_file(Session(), png(40, 30), "lunch.png")  # nothing in it can be told apart
    with pytest.raises(DataError, match="That mask is the whole photo"):
        answerer.answer(plain, asked(plain, (20, 15, 1), growth=0.5, box=(0.0, 0.0, 40.0, 30.0)))


def test_clicks_without_a_photo_or_for_another_one(answerer: Answerer) -> None:
    with pytest.raises(DataError, match="no photo is open"):
        answerer.answer(Session(), asked(Session(), (5, 5, 1)))
    session = answerer.open_example(Session(), 0)
    with pytest.raises(DataError, match="another photo was opened meanwhile"):
        answerer.answer(session, Ask("example 1", Prompt(((5, 5),), (1,))))
    with pytest.raises(DataError, match="no such example"):
        answerer.open_example(session, 99)


GOOD = {
    "key": "a", "points": [[1, 2]], "labels": [1], "box": None, "candidate": None, "growth": 0.1,
    "segmenter": "grabcut", "context": None,
}  # fmt: skip


def test_what_the_script_sends_is_read() -> None:
    assert Ask.from_event(GOOD) == Ask("a", Prompt(((1.0, 2.0),), (1,)), None, 0.1)
    assert Ask.from_event(GOOD | {"box": [1, 2, 3, 4]}).prompt.box == (1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [],
        {},
        GOOD | {"points": 3},
        GOOD | {"points": [[1]]},
        GOOD | {"points": [["x", 1]]},
        GOOD | {"box": [1, 2, 3]},
        GOOD | {"labels": [None]},
        GOOD | {"growth": float("nan")},
        GOOD | {"growth": 7},
        GOOD | {"candidate": "first"},
    ],
)
def test_what_no_page_sends_is_refused(data: object) -> None:
    with pytest.raises(DataError, match="load the page again"):
        Ask.from_event(data)


def test_no_demo_yet_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"there is no runs/demo/RveRNet; run make demo first"):
        run_folder(ClickOptions())


def test_gradio_that_is_missing_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda _name: None)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-app\.txt"):
        click_command([])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "0"], "port is 0; it must be 1 to 65535"),
        (["--max_megapixels", "-3"], "max_megapixels"),
        (["--prot", "8000"], "port"),
        (["--segmenter.checkpoint", "sam.pth"], "segmenter.checkpoint is for SAM"),
    ],
)
def test_options_that_cannot_be_used(arguments: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        click_command(arguments)


def test_an_address_that_is_taken_or_elsewhere() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"cannot be served at 127\.0\.0\.1:{port}"):
            check_address("127.0.0.1", port)
    with pytest.raises(ConfigError, match="choose another --port or --host"):
        check_address("192.0.2.1", port)  # kept for documentation: no computer has it
    assert [is_loopback(host) for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "kitchen")] == [  # noqa: S104
        True, True, True, False, False,
    ]  # fmt: skip


def test_folders_of_examples(tmp_path: Path) -> None:
    limit = PixelLimit()
    with pytest.raises(DataError, match="is not a folder"):
        find_examples(tmp_path / "none", tmp_path, [], limit)
    with pytest.raises(DataError, match="holds no photo"):
        find_examples(tmp_path, tmp_path, [], limit)
    (tmp_path / "b.png").write_bytes(png(20, 10))
    (tmp_path / "a.jpg").write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"a\.jpg: not a picture"):
        find_examples(tmp_path, tmp_path, [], limit)
    (tmp_path / "a.jpg").unlink()
    (example,) = find_examples(tmp_path, tmp_path, [], limit)
    assert (example.name, example.photo.shape, example.mask) == ("b", (10, 20, 3), None)


def test_plates_are_drawn_for_models_that_know_them_alone(tmp_path: Path) -> None:
    drawn = find_examples(None, tmp_path / "run", ["ketchup", "kiwi"], PixelLimit())
    assert len(drawn) > 4
    for example in drawn:
        assert example.mask is not None
        assert 0 < np.count_nonzero(example.mask) < example.mask.size
    assert find_examples(None, tmp_path / "run", ["ketchup", "noodles"], PixelLimit()) == []

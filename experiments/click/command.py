"""What ``app.py`` does: load the model once, serve the page until it is stopped."""

import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from datasets.picture_size import PixelLimit
from experiments.click.answer import Answerer
from experiments.click.examples import find_examples
from experiments.click.options import ClickOptions, is_loopback, run_folder
from experiments.prediction.predictor import load_predictor
from segmenters.grabcut import GrabCut
from segmenters.options import open_segmenter
from segmenters.segmenter import Segmenter
from utils.config import parse_config
from utils.errors import ConfigError
from utils.processes import refuse_several

SCRIPT = "app.py"


def click_command(argv: list[str]) -> None:
    """Parse the command line of ``app.py`` and serve the page."""
    options, _ = parse_config(ClickOptions, argv, program=SCRIPT, flags={})
    refuse_several(SCRIPT)
    if find_spec("gradio") is None:
        raise ConfigError(f"{SCRIPT} needs gradio; install it with .venv/bin/pip install -r requirements-app.txt")
    check_address(options.host, options.port)
    answerer = make_answerer(options)
    answerer.warm_up()
    with serving(answerer, options.host, options.port) as address:
        for note in answerer.predictor.notes:
            print(f"note: {note}")
        if not is_loopback(options.host):
            print(f"note: whoever reaches this computer at {options.host} can use the page; there is no password")
        print(f"open {address} in a browser; Ctrl+C ends it", flush=True)
        _wait_for_the_end()


def make_answerer(options: ClickOptions) -> Answerer:
    """Load what answers clicks.

    Raises:
        ConfigError: there is no run, or the segmenter's options cannot be used.
        DataError: the run or the examples cannot be used.
    """
    folder = run_folder(options)
    limit = PixelLimit(options.max_megapixels, "--max_megapixels")
    segmenters: dict[str, Segmenter] = {options.segmenter.name: open_segmenter(options.segmenter)}
    segmenters.setdefault("grabcut", GrabCut(options.segmenter.working_side))
    predictor = load_predictor(folder, device=options.device, precision=options.precision)
    examples = None if options.examples is None else Path(options.examples)
    found = find_examples(examples, predictor.path, predictor.classes, limit, print)
    return Answerer(predictor, segmenters, found, options.segmenter.choice, limit)


def check_address(host: str, port: int) -> None:
    """Raise a ``ConfigError`` where the page cannot be served at an address."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            if os.name != "nt":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
            probe.bind(address)
    except OSError as error:
        reason = error.strerror or error
        raise ConfigError(
            f"the page cannot be served at {host}:{port} ({reason}); choose another --port or --host"
        ) from None


@contextmanager
def serving(answerer: Answerer, host: str, port: int) -> Iterator[str]:
    """Serve the page and yield its address; uploaded photos are removed at the end."""
    with tempfile.TemporaryDirectory(prefix="click_", ignore_cleanup_errors=True) as uploads:
        os.environ.update(GRADIO_ANALYTICS_ENABLED="False", GRADIO_TEMP_DIR=uploads)
        from experiments.click.page import build_page, launch_options  # gradio reads its environment when imported

        page = build_page(answerer)
        _, address, _ = page.launch(server_name=host, server_port=port, prevent_thread_lock=True, **launch_options())
        try:
            yield address
        finally:
            page.close(verbose=False)


def _wait_for_the_end() -> None:
    """Return after Ctrl+C or a signal to end."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()

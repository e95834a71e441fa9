"""Errors that a user can mend, and the one place that turns them into an exit status."""

import difflib
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import NoReturn


class ReportedError(Exception):
    """An exception whose message is all that a user needs.

    ``in_every_process``: every process of the run raises it, so that the main one alone need print it.
    """

    in_every_process = False

    def __init__(self, message: str = "") -> None:
        super().__init__(_printable(message))


def _printable(text: str) -> str:
    """Return a text whose lines a terminal shows as they are, whatever names and values it quotes."""
    if text.replace("\n", "").isprintable():
        return text
    return "".join(c if c == "\n" or c.isprintable() else repr(c)[1:-1] for c in text)


class UserError(ReportedError):
    """A mistake in the input: what is wrong, where, what is allowed, how to fix it. Exit status 2."""


class ConfigError(UserError):
    """A configuration file or command line that cannot be used."""


class DataError(UserError):
    """Photos, masks, folders or files that cannot be used."""


class RunError(ReportedError):
    """A run that had to stop by itself, such as a loss that is no longer finite. Exit status 1."""


class LostProcessError(RunError):
    """A run that cannot go on since another of its processes is gone. Exit status 1, at once."""


class LostWorkerError(RunError):
    """A run whose loader lost a worker process. Exit status 1; the run can go on from its checkpoint."""


class InterruptedRunError(ReportedError):
    """A run that a signal stopped after its checkpoint was written. Exit status 128 + signal number."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.signal_number = signal_number


def require(ok: bool, key: str, value: object, allowed: str) -> None:
    """Raise a ``ConfigError`` that names the key, its value and what is allowed, unless ``ok``."""
    if not ok:
        raise ConfigError(f"{key} is {value}; it must be {allowed}")


def require_seeds(key: str, seeds: list[int] | None) -> None:
    """Raise a ``ConfigError`` unless ``seeds`` is null or holds different numbers that generators take."""
    usable = seeds is None or (seeds and min(seeds) >= 0 and max(seeds) < 2**31 and len(set(seeds)) == len(seeds))
    require(bool(usable), key, seeds, "null or different numbers from 0 to 2147483647, such as 0,1,2")


def require_pixels(key: str, megapixels: float | None) -> None:
    """Raise a ``ConfigError`` unless the limit is null or a number of million pixels above 0."""
    usable = megapixels is None or 0 < megapixels < float("inf")
    require(usable, key, megapixels, "null or a finite number above 0")


def nearest(word: str, allowed: Iterable[str], count: int = 3) -> str:
    """Return a hint such as ``; did you mean 'roi'?``, or an empty string where nothing is near."""
    lowered = {name.lower(): name for name in allowed}
    found = difflib.get_close_matches(word.lower(), lowered, n=count, cutoff=0.6)
    if not found:
        return ""
    best = _likeness(word, found[0])
    close = [name for name in found if _likeness(word, name) > best - 0.12]
    return "; did you mean " + " or ".join(f"'{lowered[name]}'" for name in close) + "?"


def _likeness(word: str, name: str) -> float:
    return difflib.SequenceMatcher(None, word.lower(), name).ratio()


def problem_list(title: str, problems: list[str]) -> str:
    """Join several problems into one message: a title with their number, then one line each."""
    if len(problems) == 1:
        return f"{title}: {problems[0]}"
    lines = "\n".join(f"  {number}. {problem}" for number, problem in enumerate(problems, start=1))
    return f"{title}: {len(problems)} problems\n{lines}"


def run_script(main: Callable[[list[str]], None]) -> None:
    """Run a script's main function on the command line and exit with the documented status.

    0: done. 2: a user's mistake, one message on stderr. 128 + n: stopped by signal n after a checkpoint.
    1: anything else; a ``RunError`` prints its message, an unexpected exception keeps its traceback. Of several
    processes only the main one prints what all of them raise.
    """
    try:
        main(sys.argv[1:])
    except UserError as error:
        _report(f"error: {error}", error)
        sys.exit(2)
    except InterruptedRunError as stop:
        _report(str(stop), stop)
        sys.exit(128 + stop.signal_number)
    except LostProcessError as error:
        _report(f"stopped: {error}", error)
        leave_at_once(1)
    except RunError as error:
        _report(f"stopped: {error}", error)
        sys.exit(1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:
        print(f"error: {os_error_text(error)}", file=sys.stderr)
        sys.exit(2)


def _report(text: str, error: ReportedError) -> None:
    if not error.in_every_process or os.environ.get("RANK", "0") == "0":
        print(text, file=sys.stderr)


def leave_at_once(status: int) -> NoReturn:
    """End this process and its children without the cleaning up that could wait for a process that is gone."""
    for child in multiprocessing.active_children():
        child.kill()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(status)


def os_error_text(error: OSError) -> str:
    """Return what the system refused, where, and what to check."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{error.strerror or error}{where}; check the path, its permissions and the free disk space"

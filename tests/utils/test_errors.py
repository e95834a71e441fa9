import os
import subprocess
import sys
from pathlib import Path

import pytest

from utils.errors import nearest, problem_list

ROOT = Path(__file__).parents[2]


def run_raising(statement: str, rank: int = 0) -> subprocess.CompletedProcess[str]:
    code = f"from utils.errors import *\ndef main(argv):\n    {statement}\nrun_script(main)\n"
    env = os.environ | {"RANK": str(rank)}
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False, env=env)


@pytest.mark.parametrize(
    ("statement", "status", "message"),
    [
        ("pass", 0, ""),
        ("raise ConfigError('train.epochs is 0')", 2, "error: train.epochs is 0\n"),
        ("raise DataError('a.jpg is truncated')", 2, "error: a.jpg is truncated\n"),
        ("raise RunError('the loss is not finite')", 1, "stopped: the loss is not finite\n"),
        ("raise LostProcessError('process 1 is gone')", 1, "stopped: process 1 is gone\n"),
        ("raise InterruptedRunError('stopped', 15)", 143, "stopped\n"),
        ("raise KeyboardInterrupt", 130, "interrupted\n"),
        ("open('/nowhere/at/all')", 2, "No such file or directory (/nowhere/at/all)"),
        ("raise OSError(28, 'No space left on device', 'x.png')", 2, "No space left on device (x.png)"),
    ],
)
def test_exit_status_and_message(statement: str, status: int, message: str) -> None:
    done = run_raising(statement)
    assert done.returncode == status
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_all_processes_raise_is_printed_once() -> None:
    alike = "error = ConfigError('they disagree'); error.in_every_process = True; raise error"
    done = [run_raising(alike, rank) for rank in range(2)]
    assert [one.returncode for one in done] == [2, 2]
    assert [one.stderr for one in done] == ["error: they disagree\n", ""]
    assert run_raising("raise DataError('only here')", rank=1).stderr == "error: only here\n"


def test_a_lost_process_is_not_waited_for_at_the_end() -> None:
    """What torch does at exit may hang then, and so may anything that was registered."""
    wait = "import atexit, time; atexit.register(time.sleep, 60); print('said', end=''); raise LostProcessError('gone')"
    done = run_raising(wait)
    assert (done.returncode, done.stdout, done.stderr) == (1, "said", "stopped: gone\n")


def test_a_programmers_error_keeps_its_traceback() -> None:
    done = run_raising("raise KeyError('x')")
    assert done.returncode == 1
    assert "Traceback" in done.stderr


def test_nearest_names() -> None:
    assert nearest("epoch", ["epochs", "batch_size"]) == "; did you mean 'epochs'?"
    assert nearest("zzz", ["epochs"]) == ""
    assert nearest("VIT_Base", ["vit_base", "vit_bose"]) == "; did you mean 'vit_base'?"


def test_problem_list() -> None:
    assert problem_list("tree", ["a.jpg is empty"]) == "tree: a.jpg is empty"
    assert problem_list("tree", ["one", "two"]) == "tree: 2 problems\n  1. one\n  2. two"

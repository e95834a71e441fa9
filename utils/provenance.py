"""What a reader needs to repeat a run: command, code, versions, machine; with nothing secret in it."""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from utils import clock
from utils.files import sha256
from utils.processes import processes_started

PROJECT = Path(__file__).resolve().parents[1]
# The direct dependencies, as in requirements.txt.
PACKAGES = (
    *("torch", "torchvision", "timm", "accelerate", "segment-anything", "grad-cam", "jsonargparse"),
    *(
        "docstring-parser",
        "pyyaml",
        "numpy",
        "pillow",
        "imagehash",
        "scikit-learn",
        "scikit-image",
        "scipy",
        "safetensors",
    ),
    *("huggingface-hub", "matplotlib", "tensorboard", "tqdm"),
    *("onnx", "onnxruntime", "onnxscript", "opencv-python-headless"),
)
# What the last digits of a run depend on besides its configuration, its data and the machine.
DIGITS = ("torch", "torchvision", "timm", "numpy", "pillow")
MASK = "***"
_PATIENCE_S = 10
_REVEALING = (
    r"(?:[\w.-]*[._-])?(?:(?:api|access|private)?[._-]?key|token|pass(?:word|wd|phrase)|secrets?|credentials?"
    r"|sig|signature|authorization)"
)
_QUOTED = r"""\"(?:[^\"\\]|\\.)*\"|'[^']*'"""
_SECRET_OPTION = re.compile(rf"-*{_REVEALING}", re.IGNORECASE)
_SECRET_VALUE = re.compile(rf"""(?<![\w.-])(-*{_REVEALING}["']?\s*[=:]\s*)({_QUOTED}|[^\s,}}]+)""", re.IGNORECASE)
# Its value has several words, such as "Bearer" and the token.
_AUTHORIZATION = re.compile(rf"""(authorization["']?\s*[=:]\s*)({_QUOTED}|[^"']+)""", re.IGNORECASE)
_USER_IN_ADDRESS = re.compile(r"(?<=://)[^/?#\s]+(?=@)")  # up to the last @, as passwords may hold one
_KNOWN_TOKEN = re.compile(r"\b(?:hf_|ghp_|github_pat_|sk-|wandb_v\d_)[A-Za-z0-9_-]{16,}")


def describe_environment(
    script: str,
    device: str,
    *,
    seeds: Sequence[int] = (),
    data: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of a run's ``env.json`` at its start.

    Args:
        script: that was started.
        device: type of the device, such as ``cuda``.
        seeds: of the run, or of the runs of a folder of seeds.
        data: ``PairIndex.summary`` by the name of the split.
        weights: by view, where the backbone's weights came from (``Off_the_shelfs.origin.describe_weights``).
    """
    return {
        "script": script,
        "seeds": list(seeds),
        "data": None if data is None else dict(data),
        "weights": None if weights is None else dict(weights),
        "parts": [{"step": 0, **describe_machine(device)}],
    }


def continued(environment: Mapping[str, Any], device: str, step: int) -> dict[str, Any]:
    """Return the content of ``env.json`` with one more part: the run goes on after an optimiser step, here and now."""
    return {**environment, "parts": [*environment.get("parts", []), {"step": step, **describe_machine(device)}]}


def describe_machine(device: str) -> dict[str, Any]:
    """Return time, command, code, versions and machine; environment variables are never recorded."""
    on_gpu = device == "cuda"
    return {
        "started": clock.now().isoformat(timespec="seconds"),
        "arguments": without_secrets(sys.argv[1:]),
        "code": describe_code(PROJECT),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "processes": processes_started(),
        "device": device,
        "gpu": torch.cuda.get_device_name() if on_gpu else None,
        "cuda": torch.version.cuda if on_gpu else None,
    }


def describe_files(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return hash and size of files by name, such as those that scores were computed from."""
    return {name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names}


def without_secrets(arguments: Sequence[str]) -> list[str]:
    """Return a command line in which the values of options that look like keys, tokens and passwords are masked."""
    shown: list[str] = []
    for place, argument in enumerate(arguments):
        named = place > 0 and arguments[place - 1].startswith("-") and _SECRET_OPTION.fullmatch(arguments[place - 1])
        if named and not argument.startswith("--"):
            shown.append(MASK)
            continue
        text = _SECRET_VALUE.sub(rf"\g<1>{MASK}", _AUTHORIZATION.sub(rf"\g<1>{MASK}", argument))
        shown.append(_KNOWN_TOKEN.sub(MASK, _USER_IN_ADDRESS.sub(MASK, text)))
    return shown


@cache
def describe_code(folder: Path) -> dict[str, Any]:
    """Return which state of the project's own repository a process runs, as at the first call.

    Keys: ``commit``, ``dirty`` (whether tracked files differ from it), ``changed_files``, ``diff_sha256`` (where dirty,
    of ``git diff HEAD``), each null where it cannot be said; ``reason`` says why.
    """
    found: dict[str, Any] = dict.fromkeys(("commit", "dirty", "changed_files", "diff_sha256", "reason"))
    try:
        top = Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
        if top.resolve() != folder.resolve():
            return found | {"reason": f"{folder} has no git repository of its own"}
        found["commit"] = _git(folder, "rev-parse", "HEAD").decode().strip()
        changed = _git(folder, "status", "--porcelain", "--untracked-files=no").splitlines()
        found |= {"dirty": bool(changed), "changed_files": len(changed)}
        if changed:
            difference = _git(folder, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-textconv", "--no-color")
            found["diff_sha256"] = hashlib.sha256(difference).hexdigest()
    except (OSError, subprocess.SubprocessError) as error:
        found["reason"] = _git_problem(error)
    return found


def _git(folder: Path, *arguments: str) -> bytes:
    program = shutil.which("git")
    if program is None:
        raise FileNotFoundError("git is not installed")
    # Git is to look at this folder, whatever the surrounding process (a hook, say) told it, and to write nothing.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment = kept | {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    command = [program, "-C", str(folder), *arguments]
    done = subprocess.run(  # noqa: S603
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=True, timeout=_PATIENCE_S
    )
    return done.stdout


def _git_problem(error: OSError | subprocess.SubprocessError) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"git did not answer within {_PATIENCE_S} seconds"
    if isinstance(error, subprocess.CalledProcessError):
        said: list[str] = error.stderr.decode(errors="replace").strip().splitlines()
        return said[0] if said else f"git exited {error.returncode}"
    return str(error)


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _processor() -> str:
    """Return the processor's model and the instructions that torch uses; last digits depend on both."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines() if cpuinfo.is_file() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor() or platform.machine()
    capability: str = torch.backends.cpu.get_cpu_capability()
    return f"{model}, {capability}"

"""Exported folders on the hub of Hugging Face, there and back."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import huggingface_hub
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from experiments.export.options import BESIDE_TIMM_FILE, MODULE_FILES, MODULES, OWN_FILES, README_FILE, TIMM_CONFIG_FILE
from experiments.prediction.description import EXPORT_FILE, HUB_PREFIX
from utils.checkpoints import WEIGHTS_FILE
from utils.errors import ConfigError, DataError, RunError
from utils.names import shown

# All that is fetched: nothing that could run code, and no second copy of the weights.
FETCHED = (EXPORT_FILE, WEIGHTS_FILE, BESIDE_TIMM_FILE, README_FILE, TIMM_CONFIG_FILE)
# All that is sent, and all that is taken away: a repository may hold other things of its owner's.
SENT = (*OWN_FILES, *(f"{module}/{name}" for module in MODULES for name in MODULE_FILES))
_MADE_WITH_IT = ".gitattributes"
_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"
_REPOSITORY = re.compile(rf"{_NAME}/{_NAME}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}")
_TOKEN_ADVICE = "log in with 'hf auth login', or set the environment variable HF_TOKEN"  # noqa: S105  # no token


def check_repository(name: str, option: str) -> None:
    """Raise a ``ConfigError`` unless ``name`` is USER/NAME as the hub allows it."""
    if not _REPOSITORY.fullmatch(name) or "--" in name or ".." in name:
        raise ConfigError(
            f"{option} {shown(name)} is not the name of a repository on the hub: give USER/NAME, of letters, digits, "
            f"'-', '_' and '.'"
        )


def check_push(name: str) -> None:
    """Refuse what cannot be pushed, before any work is done.

    Raises:
        ConfigError: ``name`` is none of a repository, or there is no token.
    """
    check_repository(name, "--push")
    if huggingface_hub.get_token() is None:
        raise ConfigError(f"--push {name} needs a token of the hub that may write; {_TOKEN_ADVICE}")


def push(folder: Path, name: str, *, public: bool = False) -> str:
    """Upload an exported folder and return its address; the repository is made where there is none.

    Args:
        folder: the exported folder.
        name: USER/NAME.
        public: of a repository that is made now; one that exists stays as it is.

    Raises:
        ConfigError: as ``check_push``, the token may not write there, or the repository holds other things and no
            export.
        RunError: the hub cannot be reached or refuses.
    """
    check_push(name)
    api = HfApi()
    with _reported(name, folder):
        api.create_repo(name, private=not public, repo_type="model", exist_ok=True)
        present = [path for path in api.list_repo_files(name, repo_type="model") if path != _MADE_WITH_IT]
    if present and EXPORT_FILE not in present:
        raise ConfigError(
            f"--push {name}: that repository holds no {EXPORT_FILE} but files that no export wrote "
            f"({', '.join(map(shown, sorted(present)[:3]))}); push to another name. {folder} is written"
        )
    with _reported(name, folder):
        api.upload_folder(
            repo_id=name,
            folder_path=str(folder),
            repo_type="model",
            allow_patterns=list(SENT),
            delete_patterns=list(SENT),  # of an earlier upload nothing may stand beside other weights
            commit_message="Upload of an exported model",
        )
    return f"https://huggingface.co/{name}"


@contextmanager
def _reported(name: str, folder: Path) -> Iterator[None]:
    """Turn what the hub's client raises during an upload into one line."""
    try:
        yield
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise ConfigError(f"the token may not write to {name} on the hub; {_TOKEN_ADVICE}") from error
        raise RunError(_failed("upload to", name, error, f"; {folder} is written and can be pushed again")) from error
    except Exception as error:  # the client's transport library, and so its exceptions, differ between versions
        raise RunError(_failed("upload to", name, error, f"; {folder} is written and can be pushed again")) from error


def pull(name: str) -> Path:
    """Download an exported folder, or find it in the hub's cache, and return it; its last part is the revision.

    Args:
        name: USER/NAME, or USER/NAME@REVISION.

    Raises:
        ConfigError: there is no such repository or revision, or it cannot be reached.
        DataError: it holds no exported model.
    """
    repository, _, revision = name.partition("@")
    check_repository(repository, f"{HUB_PREFIX}USER/NAME:")
    if "@" in name and not _REVISION.fullmatch(revision):
        raise ConfigError(f"{HUB_PREFIX}{repository}@{shown(revision)} names no revision: give a branch, tag or commit")
    try:
        folder = Path(
            huggingface_hub.snapshot_download(repository, revision=revision or None, allow_patterns=list(FETCHED))
        )
    except RevisionNotFoundError as error:
        raise ConfigError(f"the hub's repository {repository} has no revision {revision}") from error
    except RepositoryNotFoundError as error:
        raise ConfigError(f"the hub has no repository {repository}, or it is private: {_TOKEN_ADVICE}") from error
    except LocalEntryNotFoundError as error:
        raise ConfigError(_failed("reach", repository, error, " and the cache has no copy")) from error
    except EntryNotFoundError as error:
        raise DataError(f"the hub's repository {repository} holds no {EXPORT_FILE}") from error
    except Exception as error:  # as above
        raise ConfigError(_failed("download", repository, error, "; check the network")) from error
    if not (folder / EXPORT_FILE).is_file():
        raise DataError(
            f"the hub's repository {repository} holds no {EXPORT_FILE}, so export.py of this project did not write it; "
            f"name one that export.py --push filled"
        )
    return folder


def _failed(what: str, name: str, error: Exception, more: str) -> str:
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    return f"could not {what} {name} on the hub ({reason}){more}"

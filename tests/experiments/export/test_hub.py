import shutil
from fnmatch import fnmatch
from pathlib import Path

import huggingface_hub
import numpy as np
import pytest

from datasets.new_pairs import NewPair
from experiments.export import hub
from experiments.export.command import export_command
from experiments.prediction.predictor import load_predictor
from utils.errors import ConfigError

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def fake_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the hub: ``repositories`` there, ``downloads`` here."""
    repositories = tmp_path / "repositories"

    class Api:
        def create_repo(self, name: str, *, private: bool, repo_type: str, exist_ok: bool) -> None:
            assert repo_type == "model"
            (repositories / name).mkdir(parents=True, exist_ok=exist_ok)
            (repositories / name / ".gitattributes").touch()
            (tmp_path / "private").write_text(str(private))

        def list_repo_files(self, name: str, *, repo_type: str) -> list[str]:
            assert repo_type == "model"
            return names_in(repositories / name)

        def upload_folder(
            self, *, repo_id: str, folder_path: str, allow_patterns: list[str], delete_patterns: list[str], **_: str
        ) -> None:
            remove_matching(repositories / repo_id, delete_patterns)
            copy_matching(Path(folder_path), repositories / repo_id, allow_patterns)

    def snapshot_download(repo_id: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert revision in (None, REVISION)
        target = tmp_path / "downloads" / repo_id / REVISION
        copy_matching(repositories / repo_id, target, allow_patterns)
        return str(target)

    monkeypatch.setattr(hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "a token")
    return tmp_path


def names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]


def remove_matching(folder: Path, patterns: list[str]) -> None:
    for name in names_in(folder):
        if any(fnmatch(name, pattern) for pattern in patterns):
            (folder / name).unlink()


def copy_matching(source: Path, target: Path, patterns: list[str]) -> None:
    for name in {name for name in names_in(source) for pattern in patterns if fnmatch(name, pattern)}:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)


def test_there_and_back(tiny_runs: Path, fake_hub: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tiny_runs / "roi"
    command = ["--run", str(run), "--out", str(fake_hub / "out"), "--hub", "timm", "--push", "someone/plates"]
    export_command(command)
    assert "uploaded: https://huggingface.co/someone/plates" in capsys.readouterr().out
    repository = fake_hub / "repositories" / "someone" / "plates"
    assert (fake_hub / "private").read_text() == "True"
    (repository / "evil.py").write_text("raise SystemExit")
    (repository / "pytorch_model.bin").write_bytes(b"a pickle")

    photo, mask = np.zeros((40, 60, 3), np.uint8), np.zeros((40, 60), bool)
    mask[10:20, 10:30], photo[..., 1] = True, 200
    expected = load_predictor(run, device="cpu").logits([NewPair(photo, mask)])
    for source in ("hf-hub:someone/plates", f"hf-hub:someone/plates@{REVISION}"):
        predictor = load_predictor(source, device="cpu")
        assert np.allclose(predictor.logits([NewPair(photo, mask)]), expected, atol=1e-6)
        assert any(REVISION in note for note in predictor.notes)
    fetched = {path.name for path in (fake_hub / "downloads").rglob("*") if path.is_file()}
    assert fetched == {"README.md", "config.json", "export.json", "model.safetensors", "weights.safetensors"}


def test_a_public_repository_is_asked_for(plain: Path, fake_hub: Path) -> None:
    hub.push(plain, "someone/plates", public=True)
    repository = fake_hub / "repositories" / "someone" / "plates"
    assert (fake_hub / "private").read_text() == "False"
    (repository / "model.onnx").write_bytes(b"of other weights")
    hub.push(plain, "someone/plates")
    assert {path.name for path in repository.iterdir()} == {".gitattributes", *(path.name for path in plain.iterdir())}


def test_files_of_the_owner_stay_where_an_export_is_replaced(exported_pair: Path, plain: Path, fake_hub: Path) -> None:
    hub.push(exported_pair, "someone/plates")
    repository = fake_hub / "repositories" / "someone" / "plates"
    kept = ("results.json", "old/model.safetensors", "roi_backbone/notes.md")
    for name in kept:
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("months of work")
    hub.push(plain, "someone/plates")
    assert set(names_in(repository)) == {".gitattributes", *kept, *names_in(plain)}


def test_a_repository_of_other_things_is_not_filled(plain: Path, fake_hub: Path) -> None:
    repository = fake_hub / "repositories" / "someone" / "thesis"
    repository.mkdir(parents=True)
    (repository / "model.safetensors").write_bytes(b"months of work")
    with pytest.raises(ConfigError, match=r"someone/thesis: .*'model\.safetensors'"):
        hub.push(plain, "someone/thesis")
    assert (repository / "model.safetensors").read_bytes() == b"months of work"
    assert set(names_in(repository)) == {".gitattributes", "model.safetensors"}

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from timm.data import ImageNetInfo

from Off_the_shelfs.salience.class_map import ClassSelection
from utils.errors import ConfigError
from utils.yaml_file import read_yaml

if TYPE_CHECKING:
    from tests.Off_the_shelfs.salience.conftest import Build

NAMES = ["tench", "church", "chain saw"]
LOGITS = {"features": "logits", "frozen": True}


@pytest.fixture
def class_map(tmp_path: Path) -> Path:
    """A map in another order than the classes have."""
    path = tmp_path / "map.yaml"
    path.write_text("church: 497\nchain saw: 491\ntench: 0\n")
    return path


def test_logits_are_the_outputs_of_the_classes_in_the_datas_order(build: "Build", class_map: Path) -> None:
    model = build(n_classes=3, backbone=LOGITS, class_map=str(class_map)).eval()
    model.take_classes(NAMES)
    outputs = torch.randn(4, 1000)
    assert torch.equal(model.fuse({"photo": outputs}), outputs[:, [0, 497, 491]])
    assert model({"photo": torch.randn(2, 3, 48, 48)}).shape == (2, 3)
    trained = {name.partition(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert trained == {"selector"}


def test_a_checkpoint_brings_its_map(build: "Build", class_map: Path) -> None:
    """So that the file may be gone; without weights and without names no class has an output."""
    model, loaded = (build(n_classes=3, backbone=LOGITS, class_map=str(class_map)) for _ in range(2))
    model.take_classes(NAMES)
    class_map.unlink()
    loaded.load_state_dict(model.state_dict())
    assert isinstance(loaded.head, ClassSelection)
    assert loaded.head.output.tolist() == [0, 497, 491]


def test_the_map_of_imagenette_is_imagenets() -> None:
    """Against timm's own list of the 1000 classes."""
    outputs = read_yaml(Path(__file__).parents[3] / "configs" / "imagenette_outputs.yaml")
    assert list(outputs.values()) == [0, 217, 482, 491, 497, 566, 569, 571, 574, 701]
    assert [ImageNetInfo().index_to_label_name(output) for output in outputs.values()] == list(outputs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("church: 497\ntench: 0\n", r"no output for 1 of 3 classes, such as 'chain saw'.*add a line"),
        ("church: 497\ntench: 0\nchain_saw: 491\n", r"'chain saw'.*chain_saw"),
        (
            "church: 497\ntench: 0\nchain saw: 491\nparachute: 701\n",
            r"names 'parachute', which is no class of the data",
        ),
        ("church: 1000\ntench: 0\nchain saw: 491\n", r"'church' the output 1000; allowed are 0 to 999"),
        ("church: -1\ntench: 0\nchain saw: 491\n", r"the output -1; allowed are 0 to 999"),
        ("church: yes\ntench: 0\nchain saw: 491\n", r"the output True; allowed"),
        ("church: 497\ntench: 497\nchain saw: 491\n", r"'church' and 'tench' the same output, 497"),
        ("- church\n- tench\n", r"holds no lines 'class name: output number'"),
    ],
)
def test_a_wrong_map_is_refused(build: "Build", class_map: Path, text: str, message: str) -> None:
    class_map.write_text(text)
    model = build(n_classes=3, backbone=LOGITS, class_map=str(class_map))
    with pytest.raises(ConfigError, match=message) as refused:
        model.take_classes(NAMES)
    assert "map.yaml" in str(refused.value)


def test_an_absent_map_is_refused(build: "Build", tmp_path: Path) -> None:
    model = build(n_classes=3, backbone=LOGITS, class_map=str(tmp_path / "none.yaml"))
    with pytest.raises(ConfigError, match=r"class_map .*none\.yaml"):
        model.take_classes(NAMES)


@pytest.mark.parametrize("backbone", [{"features": "logits"}, {"frozen": True}])
def test_a_map_needs_a_classifier_that_stays(build: "Build", backbone: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"class_map .*features: logits and model\.backbone\.frozen: true"):
        build(backbone=backbone, class_map="map.yaml")


def test_a_map_leaves_no_head_and_the_selector_to_train(build: "Build") -> None:
    with pytest.raises(ConfigError, match=r"model\.dropout is 0\.1, .* set it to 0"):
        build(backbone=LOGITS, class_map="map.yaml", dropout=0.1)
    with pytest.raises(ConfigError, match=r"nothing to train where model\.salience\.choose is random"):
        build(backbone=LOGITS, class_map="map.yaml", choose="random")

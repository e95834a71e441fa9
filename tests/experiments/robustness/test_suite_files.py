from pathlib import Path

import pytest

from experiments.robustness.plan import applicable, make_plan
from experiments.robustness.suite import Condition, Variant, load_suite
from utils.errors import ConfigError

SUITES = Path(__file__).parents[3] / "configs" / "suites"
SHIFTS = {"translate_a": (-30, 63), "translate_b": (60, -85), "translate_c": (37, 139)}


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", sorted(SUITES.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_suite_loads(path: Path) -> None:
    suite = load_suite(path)
    assert suite.name == path.stem
    assert suite.conditions[0] == Condition("identity", {}, "identity")
    assert suite.letterbox == ("released" if path.stem == "as_run" else "run")


@pytest.mark.parametrize("name", ["paper", "as_run"])
def test_the_papers_seven_conditions(name: str) -> None:
    """Equations 3 to 8, the distances as Figure 7 and Table 12 print them."""
    suite = load_suite(SUITES / f"{name}.yaml")
    inputs = {condition.name: condition.inputs for condition in suite.conditions}
    patches = Variant("permute_patches", (("patch", 16),))
    assert inputs == {
        "identity": {},
        "permute_roi": {"roi": patches},
        "permute_extra_roi": {"extra_roi": patches},
        "permute_both": {"roi": patches, "extra_roi": patches},
        **{key: {"extra_roi": Variant("translate", (("dx", dx), ("dy", dy)))} for key, (dx, dy) in SHIFTS.items()},
    }
    plan = make_plan(suite.conditions, ["roi", "extra_roi"], seeds=[0])
    assert {view: len(sources) for view, sources in plan.sources.items()} == {"roi": 2, "extra_roi": 5}
    assert (plan.distinct_passes, plan.naive_passes) == (7, 14)
    with_seeds = make_plan(suite.conditions, ["roi", "extra_roi"], seeds=[0, 1, 2])
    assert (with_seeds.distinct_passes, with_seeds.naive_passes) == ((1 + 3) + (1 + 3 + 3), 2 * (1 + 3 * 3 + 3))


def test_severity_covers_what_is_promised() -> None:
    conditions = load_suite(SUITES / "severity.yaml").conditions
    swept: dict[str, list[float | None]] = {}
    for condition in conditions[1:]:
        assert condition.name == f"{condition.family}-{condition.parameter}={condition.value:g}"
        assert condition.family.endswith(tuple(condition.inputs))
        swept.setdefault(condition.family, []).append(condition.value)
    kinds = ("permute", "shift", "noise", "blur", "jpeg", "brightness")
    assert list(swept) == [f"{kind}-{view}" for kind in kinds for view in ("roi", "extra_roi")]
    assert swept["permute-roi"] == [8, 16, 28, 56, 112]
    assert swept["shift-extra_roi"] == [10, 20, 30, 40, 50]


def test_the_other_shipped_suites() -> None:
    single = load_suite(SUITES / "paper_single.yaml")
    assert [condition.name for condition in single.conditions] == ["identity", "permute"]
    ablate = load_suite(SUITES / "ablate.yaml").conditions
    assert {c.name: str(v) for c in ablate for v in c.inputs.values()} == {
        "blank_roi": "blank()",
        "blank_extra_roi": "blank()",
    }


def test_a_suite_is_written_out(tmp_path: Path) -> None:
    text = """
conditions:
  dark: {perturbation: brightness, views: each, factor: [0.5, 0.25]}
  moved: {perturbation: translate, views: [extra_roi, roi], dy: 7, dx_percent: -12.5}
"""
    suite = load_suite(write(tmp_path, text))
    assert (suite.name, suite.seeds, suite.letterbox) == ("mine", (0, 1, 2), "run")
    assert [condition.name for condition in suite.conditions] == [
        *("identity", "dark-roi-factor=0.5", "dark-roi-factor=0.25"),
        *("dark-extra_roi-factor=0.5", "dark-extra_roi-factor=0.25", "moved"),
    ]
    dark, moved = suite.conditions[1], suite.conditions[-1]
    assert (dark.family, dark.parameter, dark.value, dark.random) == ("dark-roi", "factor", 0.5, False)
    assert (moved.family, moved.parameter, moved.value) == ("moved", None, None)
    assert {view: str(variant) for view, variant in moved.inputs.items()} == dict.fromkeys(
        ("roi", "extra_roi"), "translate(dy=7, dx_percent=-12.5)"
    )


def test_conditions_are_matched_to_the_views() -> None:
    paper, single = (load_suite(SUITES / f"{name}.yaml") for name in ("paper", "paper_single"))
    fitting, reasons = applicable(paper, ["extra_roi"])
    assert [condition.name for condition in fitting] == ["identity", "permute_extra_roi", *SHIFTS]
    assert reasons == dict.fromkeys(("permute_roi", "permute_both"), "the run has no view roi")
    fitting, reasons = applicable(single, ["photo"])
    assert list(fitting[1].inputs) == ["photo"]
    assert not reasons
    with pytest.raises(
        ConfigError, match=r"no condition of the suite .*paper_single.yaml applies to a run with the"
    ) as e:
        applicable(single, ["roi", "extra_roi"])
    assert "permute: the run has 2 views (roi, extra_roi), not a single one" in str(e.value)
    with pytest.raises(ConfigError, match=r"blank_roi: the run has no view roi; blank_extra_roi: the run has no view"):
        applicable(load_suite(SUITES / "ablate.yaml"), ["photo"])


PATCHES = "perturbation: permute_patches, views: [roi]"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "conditions must hold at least one entry"),
        ("conditions: {}", "conditions must hold at least one entry"),
        ("conditions: [a]", "conditions must hold at least one entry"),
        ("conditons: {}", "unknown key 'conditons'; did you mean 'conditions'"),
        ("conditions: {a: {views: [roi]}}", "condition 'a' names no perturbation; allowed: permute_patches, translate"),
        ("conditions: {a: 3}", "condition 'a' names no perturbation"),
        ("conditions: {a: {}}", "condition 'a' names no perturbation"),
        ("conditions: {a: {perturbation: nois}}", "unknown perturbation 'nois'; did you mean 'noise'"),
        ("conditions: {a: {perturbation: [noise]}}", r"unknown perturbation '\['noise'\]'"),
        (f"conditions: {{a: {{{PATCHES}, pach: 3}}}}", "unknown parameter 'pach'; did you mean 'patch'"),
        (f"conditions: {{a: {{{PATCHES}, patch: 3, view: roi}}}}", "unknown parameter 'view'; did you mean 'views'"),
        (f"conditions: {{a: {{{PATCHES}}}}}", "lacks a parameter: permute_patches needs patch"),
        (f"conditions: {{a: {{{PATCHES}, patch: 0}}}}", "patch is 0; allowed: a whole number from 1"),
        (f"conditions: {{a: {{{PATCHES}, patch: 1.5}}}}", "patch is 1.5; allowed: a whole number from 1"),
        (f"conditions: {{a: {{{PATCHES}, patch: true}}}}", "patch is True; allowed: a whole number"),
        (f"conditions: {{a: {{{PATCHES}, patch: []}}}}", "patch is an empty list"),
        (f"conditions: {{a: {{{PATCHES}, patch: [4, x]}}}}", "patch is 'x'; allowed: a whole number"),
        ("conditions: {a: {perturbation: translate, views: [roi]}}", "translate needs one of dx, dy, dx_percent"),
        (
            "conditions: {a: {perturbation: translate, views: [roi], dx: 300}}",
            "dx is 300; allowed: .* from -224 to 224",
        ),
        ("conditions: {a: {perturbation: translate, views: [roi], dx: 3, dx_percent: 4}}", "both dx and dx_percent"),
        ("conditions: {a: {perturbation: translate, views: [roi], dx: [1], dy: [2]}}", "sweeps dx and dy; sweep one"),
        ("conditions: {a: {perturbation: noise, views: [roi], sd: 0}}", "sd is 0; allowed: a number above 0 to 255"),
        ("conditions: {a: {perturbation: noise, views: [roi], sd: .nan}}", "sd is nan; allowed"),
        ("conditions: {a: {perturbation: jpeg, views: [roi], quality: 101}}", "quality is 101; allowed: .* 1 to 100"),
        ("conditions: {a: {perturbation: blank}}", "views is absent; allowed: a list such as"),
        ("conditions: {a: {perturbation: blank, views: roi}}", r"views is 'roi'; allowed: a list such as \[roi\]"),
        ("conditions: {a: {perturbation: blank, views: []}}", r"views is '\[\]'; allowed"),
        ("conditions: {a: {perturbation: blank, views: [extra-roi]}}", "'extra-roi'; did you mean 'extra_roi'"),
        ("conditions: {a: {perturbation: blank, views: [roi, roi]}}", "twice; name each view once"),
        ("conditions: {identity: {perturbation: blank}}", "is written 'identity: {}'"),
        ("conditions: {a/b: {perturbation: blank, views: [roi]}}", "'a/b', which must do as a folder name"),
        (
            "conditions: {a: {perturbation: blank, views: [roi]}, A: {perturbation: blank, views: [roi]}}",
            "two conditions",
        ),
        ("conditions: {a: {perturbation: blank, views: [roi]}, a: {perturbation: blank, views: [roi]}}", "given twice"),
        ("name: a b\nconditions: {identity: {}}", "name is 'a b', which must do as a folder name"),
        ("letterbox: relesed\nconditions: {identity: {}}", "letterbox is 'relesed'; did you mean 'released'"),
        ("seeds: []\nconditions: {identity: {}}", r"seeds is \[\]; allowed: a list of different numbers"),
        ("seeds: [1, 1]\nconditions: {identity: {}}", r"seeds is \[1, 1\]; allowed"),
        ("seeds: 3\nconditions: {identity: {}}", "seeds is 3; allowed"),
        ("seeds: [-1]\nconditions: {identity: {}}", r"seeds is \[-1\]; allowed"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_suite(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_has_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"pap.yaml does not exist; did you mean 'paper.yaml'"):
        load_suite(SUITES / "pap.yaml")

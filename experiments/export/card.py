"""The README.md of an exported folder: a model card."""

from collections.abc import Mapping
from typing import Any

from experiments.export.options import BESIDE_TIMM_FILE, MODULES, ONNX_FILE
from experiments.prediction.description import EXPORT_FILE
from experiments.report import HEADINGS, markdown_table
from utils.checkpoints import WEIGHTS_FILE

SHOWN = ("top1", "top5", "macro_f1", "ambiguous_f1", "n_pairs")
_WHAT = {"roi": "the region of interest, all else black", "extra_roi": "everything else, the region black"}
_MARKED = str.maketrans({character: f"\\{character}" for character in "\\`*_[]<>|#"})


def model_card(document: Mapping[str, Any]) -> str:
    """Return the model card of what ``export.json`` describes."""
    timm = document["timm"]
    whole = timm == ["."]
    lines = [
        "---",
        "pipeline_tag: image-classification",
        f"library_name: {'timm' if whole else 'pytorch'}",
        f"tags: [image-classification{', timm' if timm else ''}]",
        "---",
        f"# {_plain(document['name'])}",
        "",
        _what(document),
        "",
        "## Scores",
        "",
        *_scores(document["scores"]),
        "",
        "## Use",
        "",
        "On the command line of the project: `python predict.py --run THIS_FOLDER …`. In Python, from its folder:",
        "",
        "```python",
        "from datasets.new_pairs import NewPair",
        "from experiments.prediction.predictor import load_predictor",
        'predictor = load_predictor("THIS_FOLDER")  # or hf-hub:USER/NAME',
        "probabilities = predictor.probabilities(predictor.logits([NewPair(photo, mask)]))  # H×W×3 uint8, H×W bool",
        "```",
        *(_of_onnx(document["onnx"]) if document["onnx"] else []),
        *(_of_timm(timm) if timm else []),
        "",
        "## Pictures",
        "",
        *_pictures(document),
        "",
        "## Classes",
        "",
        ", ".join(_plain(entry["name"]) for entry in document["classes"]),
        "",
        *_ambiguous(document["ambiguous"]),
        "## Files",
        "",
        f"`{EXPORT_FILE}` says all of this for programs. `{document['weights']['file']}` holds the weights; "
        f"its SHA-256 is `{document['weights']['sha256']}`.",
    ]
    return "\n".join(lines) + "\n"


def _what(document: Mapping[str, Any]) -> str:
    model, n_classes = document["model"], len(document["classes"])
    if len(document["views"]) == 1:
        view = next(iter(document["views"]))
        return f"A {model['backbone']['name']} and one linear layer on the {view} view, for {n_classes} classes."
    roi, extra_roi = (model[name]["name"] for name in MODULES)
    return (
        f"A RveRNet for {n_classes} classes: {roi} sees the region of interest (`roi`), {extra_roi} everything else "
        f"(`extra_roi`), and a small head sees the features of both."
    )


def _scores(scores: Mapping[str, Any] | None) -> list[str]:
    if not scores:
        return ["None were recorded."]
    row = {key: scores.get(key) for key in scores if key in SHOWN or key.removesuffix("_ci") in SHOWN}
    columns = {key: HEADINGS[key] for key in SHOWN if row.get(key) is not None}
    return [
        markdown_table([row], columns),
        "",
        "Of the run's test split, with 95 % intervals where they were computed.",
    ]


def _of_onnx(onnx: Mapping[str, Any]) -> list[str]:
    inputs = ", ".join(f"`{name}` ({shape})" for name, shape in onnx["inputs"].items())
    return [
        "",
        f"`{ONNX_FILE}` (opset {onnx['opset']}) takes {inputs} and gives `{onnx['output']}`; B is any number. "
        f"On random pictures its logits were within {onnx['largest_difference']:.1e} of PyTorch's.",
    ]


def _of_timm(timm: list[str]) -> list[str]:
    if timm == ["."]:
        return [
            "",
            f"timm loads it by itself (`{WEIGHTS_FILE}`; `{BESIDE_TIMM_FILE}` holds the same weights for the project):",
            "",
            "```python",
            "import timm",
            'model = timm.create_model("local-dir:THIS_FOLDER", pretrained=True)  # or hf-hub:USER/NAME',
            "```",
        ]
    return [
        "",
        f"Each module is a model of timm too: {', '.join(f'`{name}/`' for name in timm)}. As initial weights of other "
        "runs: `--model.roi_backbone.weights THIS_FOLDER/roi_backbone`.",
    ]


def _pictures(document: Mapping[str, Any]) -> list[str]:
    size = document["size"]
    first = "are kept at their size" if size == 0 else f"are resized to a longer side of {size} px"
    lines = [
        f"1. Photo and mask {first} and cut in two: "
        + "; ".join(f"`{name}` is {text}" for name, text in _WHAT.items()),
        "2. Each view is resized to fit its square, centred, and the bars beside it filled:",
        "",
    ]
    rows = [
        {"view": name, "side": view["size"], "bars": view["bars"], "interpolation": view["interpolation"]}
        | {key: ", ".join(f"{value:.4g}" for value in view[key]) for key in ("mean", "std")}
        for name, view in document["views"].items()
    ]
    lines += [markdown_table(rows, list(rows[0])), "", "3. `(pixel / 255 - mean) / std`, channels red, green, blue."]
    lines += [f"4. Probabilities are softmax(logits / {document['temperature']:.4g}) ({document['calibration']})."]
    return lines


def _ambiguous(names: list[str]) -> list[str]:
    if not names:
        return []
    return [f"Told apart by their surroundings alone: {', '.join(map(_plain, names))}.", ""]


def _plain(text: str) -> str:
    """Return a text that Markdown shows as it is."""
    return text.translate(_MARKED)

"""A comparison of masks for readers: text for the console, a Markdown file, a page with pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.mask_quality import tables
from experiments.mask_quality.options import REPORT_FILE, TABLE_FILE
from experiments.mask_quality.plots import save_classes, save_columns, save_sweep, save_two_by_two
from experiments.mask_quality.slopes import FORMULA
from experiments.report import Section, format_score, text_table, write_markdown, write_page

TITLE = "Prompted masks and annotation"
_FEW_GROUPS = 50
_CAPTIONS = {
    "iou.png": "Mean IoU with its 95 % interval (dot, line) and quartiles (bar)",
    "iou_by_class.png": "Mean IoU of each class",
    "worst.png": "The pairs below the median on which the first kind of prompt did worst, eight at most",
    "two_by_two.png": "Scores of every training on every tree; lines: 95 % intervals",
    "sweep.png": "Scores against the IoU that edited masks have left; bands: 95 % intervals",
    "edits.png": "What the strongest edits do to a mask",
}


def write_pages(document: Mapping[str, Any], folder: Path) -> None:
    """Draw the plots and write ``table.md`` and ``report.html``."""
    sections = []
    for part, made in (
        (prompted_sections(document), ("iou.png", "iou_by_class.png", "worst.png")),
        (tree_sections(document), ("two_by_two.png",)),
        (sweep_sections(document), ("sweep.png", "edits.png")),
    ):
        if part:
            _draw(document, made[0], folder)
            images = [(_CAPTIONS[name], folder / name) for name in made if (folder / name).is_file()]
            sections += [*part, Section(images=images)]
    write_markdown(folder / TABLE_FILE, TITLE, sections)
    write_page(folder / REPORT_FILE, TITLE, sections)


def _draw(document: Mapping[str, Any], first: str, folder: Path) -> None:
    if first == "iou.png":
        save_columns(document["prompted"], folder / first)
        save_classes(document["prompted"], folder / "iou_by_class.png")
    elif first == "two_by_two.png":
        save_two_by_two(document["trees"], folder / first)
    else:
        save_sweep(document["sweep"], folder / first)


def prompted_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the tables of prompted masks against annotation; none where that was not asked for."""
    part = document["prompted"]
    if part is None:
        return []
    name = part["segmenter"]["name"]
    notes = [
        f"{part['n_pairs']:,} pairs (photo and class) of {part['n_objects']:,} objects in {part['n_photos']:,} photos "
        f"and {part['n_groups']:,} groups of {part['archive']} (split {', '.join(part['splits'])}); segmenter {name}, "
        f"mask chosen by {part['segmenter']['choice']}, seed {part['seed']}. The masks of a pair's objects are joined "
        f"and compared with all of its annotation in the photo's own pixels. Brackets hold 95 % intervals from a "
        f"bootstrap over groups ({document['resamples']:,} resamples).",
        "After `~` stands how far a prompt was moved at random: each side of a box by up to that part of the box, a "
        "point by up to that part of the radius of the largest circle in its object. The rows without a segmenter are "
        "the box of the annotation itself, filled, and the ellipse in it: what a segmenter adds is what it has more. "
        "`everything` takes for each object the mask that fits its annotation best, so it is what the best choice "
        "among the segmenter's own masks would give.",
        *_few_groups(part),
        *([] if name == "sam" else ["SAM: not measured here."]),
    ]
    sections = [Section("Prompted masks against annotation", *tables.overall_table(part), notes)]
    sections.append(Section("Mean IoU of each class (pairs)", *tables.parts_table(part, "classes")))
    sections.append(
        Section(
            "Mean IoU by the part of the photo that the annotation covers (pairs)", *tables.parts_table(part, "sizes")
        )
    )
    return sections


def tree_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the tables of trained runs on the trees; none where that was not asked for."""
    part = document["trees"]
    if part is None:
        return []
    several = any(len(cell["seeds"]) > 1 for cell in part["cells"])
    notes = [
        f"{part['n_pairs']:,} pairs in {part['n_groups']:,} groups (split {part['split']}) that every tree holds: "
        + ", ".join(f"{name} is {folder}" for name, folder in part["trees"].items())
        + f". Brackets hold 95 % intervals from a bootstrap over groups ({document['resamples']:,} resamples)"
        + (", of the mean over training seeds." if several else "."),
        *(f"{note[0].upper()}{note[1:]}." for note in part["notes"]),
    ]
    if part["mask_iou"] is not None and part["mask_iou"]["pairs"]:
        found = part["mask_iou"]
        notes.append(
            f"The stored masks of the two trees have a mean IoU of {format_score(found['mean'], found['mean_ci'])}, "
            f"quartiles {found['q25']:.3f}, {found['median']:.3f} and {found['q75']:.3f}."
        )
    sections = [Section("Trained runs on other masks", *tables.cells_table(part), [*notes, *_few_groups(part)])]
    if part["comparisons"]:
        told = [
            "Differences are paired: the same groups are drawn for both. The p-values of a score are adjusted by Holm "
            "for the rows of this table; McNemar's test of top-1 lets a group's pairs change sides together."
        ]
        sections.append(Section("Differences between the cells", *tables.comparisons_table(part), told))
    return sections


def sweep_sections(document: Mapping[str, Any]) -> list[Section]:
    """Return the tables of the sweep; none where that was not asked for."""
    entries = document["sweep"]
    if not entries:
        return []
    sections = []
    for entry in entries:
        notes = [
            f"{entry['n_pairs']:,} pairs in {entry['n_groups']:,} groups ({entry['root']}, split {entry['split']}); "
            f"training seeds {', '.join(map(str, entry['seeds']))}; edits drawn with seed {document['seed']}. Levels "
            f"are parts of the square root of a mask's area. Brackets hold 95 % intervals from a bootstrap over groups "
            f"({document['resamples']:,} resamples); changes are paired.",
            *_few_groups(entry),
        ]
        sections.append(Section(f"{entry['trained']}: masks made worse", *tables.sweep_table(entry), notes))
    told = [
        f"{FORMULA[0].upper()}{FORMULA[1:]}. Each resample of the groups gives a line; the brackets hold the middle "
        "95 % of them. The largest miss is the distance in points of the edit that lies farthest from the line: where "
        "it is large, loss is not proportional to lost IoU."
    ]
    sections.append(Section("Points lost per 0.1 IoU", *tables.slopes_table(entries), told))
    return sections


def _few_groups(part: Mapping[str, Any]) -> list[str]:
    count = part["n_groups"]
    if count >= _FEW_GROUPS:
        return []
    return [f"{count} groups are few: such bootstrap intervals are rough and tend to be too narrow."]


def console_text(document: Mapping[str, Any]) -> str:
    """Return what fits a terminal: the first table of each part, the differences and the slopes."""
    parts = []
    for sections in (prompted_sections(document), tree_sections(document), sweep_sections(document)):
        parts += [f"{section.heading}\n{text_table(section.rows, section.columns)}" for section in sections]
        parts += [note for section in sections[:1] for note in section.notes]
    return "\n\n".join(parts)

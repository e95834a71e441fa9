"""What happened to the pairs of a run since it was recorded, in words."""

from collections.abc import Iterator, Mapping
from typing import Any

SUMMARY_KEYS = frozenset({"fingerprint", "pairs", "classes", "n_groups", "keys", "sizes", "sources", "groups"})
_SHOWN = 6  # classes named of each split


def describe_change(before: Mapping[str, Mapping[str, Any]], after: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return what differs between two sets of splits, one line each; nothing where they are the same.

    Args:
        before: ``PairIndex.summary`` by the name of the split, as it was recorded.
        after: the same of the present pairs.
    """
    lines = []
    for split in dict.fromkeys([*before, *after]):
        if split not in after:
            lines.append(f"{split}: there were {before[split]['pairs']} pairs and there is no such split now")
        elif split not in before:
            lines.append(f"{split}: there was no such split and there are {after[split]['pairs']} pairs now")
        elif dict(before[split]) != dict(after[split]):
            lines += [f"{split}: {text}" for text in _one_split(before[split], after[split])]
    return lines


def describe_photo_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return what differs between two folders of photos without labels, by their ``PhotoIndex.summary``."""
    if dict(before) == dict(after):
        return []
    if before["pairs"] != after["pairs"]:
        return [f"there were {before['pairs']} photos and there are {after['pairs']} now"]
    if before["keys"] != after["keys"]:
        return ["as many photos, but of other names"]
    return ["the same names, but photos of other content"]


def _one_split(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    counts = list(_class_changes(before["classes"], after["classes"]))
    if counts:
        rest = len(counts) - _SHOWN
        yield from counts[:_SHOWN]
        if rest > 0:
            yield f"and {rest} more classes differ ({before['pairs']} pairs in all and now {after['pairs']})"
        return
    if list(before["classes"]) != list(after["classes"]):
        yield "the same classes in another order"
        return
    if before["keys"] != after["keys"]:
        yield "as many pairs in each class, but of other photos"
        return
    if before["sizes"] != after["sizes"]:
        yield "the same pairs, but pictures of other sizes"
    one, other = before["sources"], after["sources"]
    if one is not None and other is not None and one != other:
        yield "the same pairs, but photos or masks of other content"
    elif (one is None) != (other is None):
        had, has = ("a", "none") if other is None else ("no", "one")
        yield f"the same pairs, but there was {had} manifest and there is {has} now: their content cannot be compared"
    if before["groups"] != after["groups"]:
        yield f"the same pairs in other groups ({before['n_groups']} and now {after['n_groups']})"


def _class_changes(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *after]):
        if name not in after:
            yield f"class '{name}' had {before[name]} pairs and is no class now"
        elif name not in before:
            yield f"class '{name}' was no class and has {after[name]} pairs"
        elif before[name] != after[name]:
            yield f"class '{name}' had {before[name]} pairs and has {after[name]}"

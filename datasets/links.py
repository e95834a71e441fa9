"""Links inside trees and archives: those that stay inside are followed, those that lead out are refused."""

import os
from pathlib import Path


class LinkGuard:
    """Finds links that lead out of a folder. The folder itself may be a link.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)

    def problem(self, path: str | Path) -> str | None:
        """Say what is wrong with a file or folder that is a link; None where its target lies inside the root."""
        target = os.path.realpath(path)
        if target == self._root or target.startswith(self._root.rstrip(os.sep) + os.sep):
            return None
        return f"{path} is a link that leads out of {self._root}, to {target}; put the files themselves there"

    def entry_problem(self, entry: "os.DirEntry[str]") -> str | None:
        """Say the same of what a folder was found to hold; asks nothing of the disk where it is no link."""
        return self.problem(entry.path) if entry.is_symlink() else None

    def folder_problems(self, *folders: Path) -> list[str]:
        """Say the same of some folders, of which few are links."""
        return [problem for folder in folders if folder.is_symlink() and (problem := self.problem(folder))]

    def tree_problems(self) -> list[str]:
        """Say the same of every folder of a tree of pairs, root/split/view/class; files are not looked at."""
        problems: list[str] = []
        level = [self._root]
        for _ in range(3):
            found: list[os.DirEntry[str]] = []
            for folder in level:
                with os.scandir(folder) as entries:
                    found += [entry for entry in entries if entry.is_dir() or entry.is_symlink()]
            outside = {entry.path: problem for entry in found if (problem := self.entry_problem(entry))}
            problems += outside.values()
            level = [entry.path for entry in found if entry.path not in outside and entry.is_dir()]
        return problems

"""Photos whose masks are found from prompts, as a source that preprocessing cuts."""

from pathlib import Path

from datasets.archive import read_archive
from datasets.class_file import load_class_file
from datasets.classes import ClassMap
from datasets.mask_source import Source
from datasets.preprocess_options import PreprocessOptions
from datasets.prompted.listing import list_prompts
from datasets.prompted.masks import DerivedMasks, PromptedMasks
from segmenters.options import open_segmenter
from utils.errors import ConfigError


def read_prompted(options: PreprocessOptions) -> Source:
    """Read the prompts, or list the archive of which they are derived, and open the segmenter.

    A new tree gets every class of ``--classes`` in that order, or those of the prompts in the order in which they
    come; a tree that is appended to gets no class that no prompt names.

    Raises:
        ConfigError: for options that do not go together, or a segmenter that cannot be.
        DataError: with everything that is wrong with the prompts or the archive.
    """
    prompting = options.prompting
    assert prompting is not None
    if prompting.segmenter.name == "sam" and options.workers not in (None, 1):
        raise ConfigError(
            f"--workers {options.workers}: SAM works in one process, its prompts in batches; leave --workers out; "
            f"processes of torchrun or srun take a shard and a GPU each"
        )
    if prompting.derived is not None:
        archive = read_archive(options.source, options.groups)
        segmenter, choice = open_segmenter(prompting.segmenter), prompting.segmenter.choice
        derived = DerivedMasks(segmenter, choice, prompting.derived, archive.label_ids, options.mask_orientation)
        title = f"archive {archive.root}"
        return Source(title, archive.root, archive.label_ids, archive.photos, derived, archive.notes)
    assert prompting.file is not None
    allowed = None if prompting.classes is None else _class_names(prompting.classes)
    photos, names = list_prompts(prompting.file, options.source, allowed)
    if allowed is not None:
        names = [name for name in allowed if name in names or not options.append]
    label_ids = dict(enumerate(names, start=1))
    masks = PromptedMasks(open_segmenter(prompting.segmenter), prompting.segmenter.choice, str(prompting.file), names)
    return Source(f"prompts {prompting.file}", options.source, label_ids, photos, masks)


def _class_names(path: Path) -> list[str]:
    """Return the names of a ``category_id.txt`` or a ``classes.yaml``, in their order."""
    if path.suffix.lower() in (".yaml", ".yml"):
        return list(ClassMap.load(path).names)
    return list(load_class_file(path).values())

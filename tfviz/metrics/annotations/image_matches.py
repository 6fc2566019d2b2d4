"""Match annotated images with image files by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tfviz.errors import OptionError, shown
from tfviz.metrics.annotations.annotated_image import AnnotatedImage


def matched(annotated: Sequence[AnnotatedImage], paths: Sequence[Path]) -> tuple[dict[int, AnnotatedImage], list[str]]:
    """Find the image file for each annotated image.

    An annotated name such as "train/cat.jpg" matches files whose path ends with the same
    components.

    Args:
        annotated: the annotated images.
        paths: the image files.

    Returns:
        A dict that maps indices in `paths` to annotated images, and the names that match no file.

    Raises:
        OptionError: a name matches several files, or no name matches any file.
    """
    by_name: dict[str, list[int]] = {}
    for position, path in enumerate(paths):
        for name in (path.name, path.stem):
            by_name.setdefault(name, []).append(position)
    found: dict[int, AnnotatedImage] = {}
    missing = []
    for image in annotated:
        parts = _parts(image.name)
        places = [place for place in dict.fromkeys(by_name.get(parts[-1], [])) if _ends_in(paths[place], parts, image)]
        if len(places) > 1 or (places and places[0] in found):
            files = ", ".join(shown(paths[place]) for place in places[:2])
            raise OptionError(
                f"'{shown(image.name)}' matches several files, or is annotated several times: {files}. Annotate each image "
                "once, with a path that matches only one file."
            )
        if places:
            found[places[0]] = image
        else:
            missing.append(image.name)
    if not found:
        names = ", ".join(f"'{shown(name)}'" for name in missing[:3])
        raise OptionError(f"None of the annotated images matches an image file. Annotated images: {names}. Check the paths.")
    return found, missing


def _parts(name: str) -> tuple[str, ...]:
    return tuple(part for part in name.replace("\\", "/").split("/") if part not in ("", ".")) or (name,)


def _ends_in(path: Path, parts: tuple[str, ...], image: AnnotatedImage) -> bool:
    own = (*path.parts[:-1], path.name if image.has_extension else path.stem)
    return own[-len(parts) :] == parts

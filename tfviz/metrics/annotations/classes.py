"""Match annotated classes with the model's classes by index, name or WordNet id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfviz.errors import LabelsError, TargetError, near_matches, shown
from tfviz.models.labels import Labels

_MOST_NAMED = 3


class ClassNames:
    """Looks up classes of the model and records annotated classes that the model lacks."""

    def __init__(self, labels: Labels, count: int, path: Path) -> None:
        """Initialize the lookup.

        Args:
            labels: the model's class names.
            count: the number of classes in the model.
            path: the annotation file or folder, for error messages.
        """
        self._labels, self._count, self._path = labels, count, path
        self._unknown: list[str] = []
        self._known: set[str] = set()

    def index(self, word: str | int) -> int:
        """Return the class index for an annotated class.

        Raises:
            LabelsError: the model does not have this class.
        """
        try:
            index = word if isinstance(word, int) and not isinstance(word, bool) else self._labels.index(str(word))
        except TargetError as error:
            raise LabelsError(f"{shown(self._path)} names a class that the model does not have. {error}") from error
        if not 0 <= index < self._count:
            raise LabelsError(
                f"{shown(self._path)} contains class {index}, but the model has {self._count} classes (0 to "
                f"{self._count - 1}). Use the model's class numbers."
            )
        return index

    def known(self, word: str) -> int | None:
        """Return the class index for an annotated class.

        If the model lacks the class, record it and return None.
        """
        try:
            index = self.index(word)
        except LabelsError:
            self._unknown += [word] * (word not in self._unknown)
            return None
        self._known.add(word)
        return index

    def report(self, say: Callable[[str], None]) -> None:
        """Report the annotated classes that the model does not have.

        Args:
            say: a function that prints one line.

        Raises:
            LabelsError: the model has none of the annotated classes.
        """
        if not self._unknown:
            return
        some = ", ".join(f"'{shown(word)}'" for word in self._unknown[:_MOST_NAMED])
        some += f" and {len(self._unknown) - _MOST_NAMED} more" if len(self._unknown) > _MOST_NAMED else ""
        if not self._known:
            names = [name for name in self._labels.names if name]
            hint = near_matches(self._unknown[0], names) if names else "Pass the model's class names with --labels."
            raise LabelsError(f"The model has none of the classes in {shown(self._path)}: {some}. {hint}")
        count = len(self._unknown)
        say(f"Note: {count} of the classes in {shown(self._path)} are unknown to the model and were skipped: {some}.")

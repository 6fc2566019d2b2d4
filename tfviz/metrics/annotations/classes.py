"""Match annotated classes to the model's: by index, name or WordNet id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tfviz.errors import LabelsError, TargetError, near_matches, shown
from tfviz.models.labels import Labels

_MOST_NAMED = 3


class ClassNames:
    """The model's classes, and a record of annotated ones that are none of them."""

    def __init__(self, labels: Labels, count: int, path: Path) -> None:
        """Start with no unknown classes.

        Args:
            labels: the names of the model's classes.
            count: the number of the model's classes.
            path: the annotations, for messages.
        """
        self._labels, self._count, self._path = labels, count, path
        self._unknown: list[str] = []
        self._known: set[str] = set()

    def index(self, word: str | int) -> int:
        """Return the index of a class.

        Raises:
            LabelsError: it is not one of the model's.
        """
        try:
            index = word if isinstance(word, int) and not isinstance(word, bool) else self._labels.index(str(word))
        except TargetError as error:
            raise LabelsError(f"{shown(self._path)} names a class that the model does not have. {error}") from error
        if not 0 <= index < self._count:
            raise LabelsError(
                f"{shown(self._path)} has the class {index}, but the model has {self._count} classes, 0 to {self._count - 1}. "
                "Number the classes like the model's outputs."
            )
        return index

    def known(self, word: str) -> int | None:
        """Return the index of a class of a data set, or None and remember it as unknown."""
        try:
            index = self.index(word)
        except LabelsError:
            self._unknown += [word] * (word not in self._unknown)
            return None
        self._known.add(word)
        return index

    def report(self, say: Callable[[str], None]) -> None:
        """Tell which classes of a data set are unknown.

        Args:
            say: prints a line.

        Raises:
            LabelsError: all of them are.
        """
        if not self._unknown:
            return
        some = ", ".join(f"'{shown(word)}'" for word in self._unknown[:_MOST_NAMED])
        some += f" and {len(self._unknown) - _MOST_NAMED} more" if len(self._unknown) > _MOST_NAMED else ""
        if not self._known:
            names = [name for name in self._labels.names if name]
            hint = near_matches(self._unknown[0], names) if names else "Pass the model's class names with --labels."
            raise LabelsError(f"None of the classes in {shown(self._path)} is one of the model's: {some}. {hint}")
        say(f"Note: {len(self._unknown)} of the classes in {shown(self._path)} are not the model's and are left out: {some}.")

"""A progress display for callers who want none."""

from collections.abc import Sequence


class SilentProgress:
    """Shows nothing."""

    def __enter__(self) -> "SilentProgress":
        return self

    def __exit__(self, *_: object) -> None:
        return

    def learning(self, target: str, number: int, count: int) -> None:
        """Show nothing."""

    def planning(self, n_files: int) -> None:
        """Show nothing."""

    def start(self, targets: Sequence[str], n_segments: int) -> None:
        """Show nothing."""

    def keep(self, target: str, n_segments: int) -> None:
        """Show nothing."""

    def advance(self, target: str, n_segments: int) -> None:
        """Show nothing."""


SILENT = SilentProgress()

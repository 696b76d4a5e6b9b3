"""Where what is learned from recordings is kept, so that the next start need not learn it again."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class KeptKnowledge:
    """A folder with level tables, noise floors and maps, mostly that of a run."""

    folder: Path | None = None
    """None: all is learned, and nothing is kept."""
    is_written: bool = True
    """What is learned is written there; otherwise it is only read."""
    of_run: Collection[str] = ()
    """Devices of the run in the folder: what is kept of them stays."""
    is_updated: bool = False
    """The run in the folder is updated: what is kept of its devices counts, whatever their recordings are now."""

    def file(self, name: str) -> Path | None:
        """Return the path of a file in the folder, if there is a folder."""
        return self.folder / name if self.folder else None

    def counts(self, device: str) -> bool:
        """Tell whether what is kept of a device counts whatever its recordings are now."""
        return self.is_updated and device in self.of_run


NOT_KEPT = KeptKnowledge()

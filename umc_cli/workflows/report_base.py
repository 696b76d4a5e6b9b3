"""What every command's report has: inputs that failed, warnings, seconds, an exit code, and its form as JSON."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Protocol

from pydantic import BaseModel

from umc_cli.audio.manifest import FailedInput


class Ended(Protocol):
    """The result of a command, a dataclass."""

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        ...


@dataclass(kw_only=True)
class Report:
    """What a command did with its inputs; its own fields come before these."""

    failed: list[FailedInput] = field(default_factory=list)
    """Inputs that could not be used; the rest is done."""
    warnings: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0: all done; 1: some inputs failed, the others are done."""
        return 1 if self.failed else 0


def report_as_json(report: Ended) -> dict[str, Any]:
    """Return what `--json` prints of a report: its own fields, then those of `Report`, then `exit_code`."""
    content: dict[str, Any] = asdict(report)  # type: ignore[call-overload]
    for name, value in content.items():
        if isinstance(value, BaseModel):
            content[name] = value.model_dump(mode="json")
    of_all = {each.name: content.pop(each.name) for each in fields(Report) if each.name in content}
    return content | of_all | {"exit_code": report.exit_code}

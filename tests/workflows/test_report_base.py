"""What all reports share: their order in JSON, and the exit code."""

from dataclasses import dataclass, field

from umc_cli.audio.manifest import FailedInput
from umc_cli.workflows.report_base import Report, report_as_json


@dataclass
class Counted(Report):
    """A report as commands have them."""

    counts: dict[str, int] = field(default_factory=dict)


def test_a_report_without_failed_inputs_ends_with_0() -> None:
    content = report_as_json(Counted({"a": 1}, seconds=2.5, warnings=["slow"]))
    assert list(content) == ["counts", "failed", "warnings", "seconds", "exit_code"]
    assert content == {"counts": {"a": 1}, "failed": [], "warnings": ["slow"], "seconds": 2.5, "exit_code": 0}


def test_a_failed_input_ends_with_1() -> None:
    content = report_as_json(Counted(failed=[FailedInput("a.wav", "is empty", "record it again")]))
    assert content["exit_code"] == 1
    assert content["failed"] == [{"path": "a.wav", "reason": "is empty", "hint": "record it again"}]

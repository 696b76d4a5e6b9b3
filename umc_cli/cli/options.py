"""Options that several commands share."""

from collections.abc import Callable
from typing import Annotated

import typer


def complete_words(*words: str) -> Callable[[str], list[str]]:
    """Return a function that completes one of a few words."""
    return lambda incomplete: [word for word in words if word.startswith(incomplete)]


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but the result and errors.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more: every failed input, what was left out.")]

RUN, RECORDINGS, MACHINE = "Run", "Recordings", "Machine"
"""Headings of the help under which the following stand."""

Hop = Annotated[
    int | None,
    typer.Option(
        help="Samples (at 22,050 Hz) from one segment to the next. (default: 20480, no overlap)",
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

SilenceGate = Annotated[
    float | None,
    typer.Option(
        help="Leave out segments below this RMS level in dB re full scale. (default: keep all)",
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

ShortClips = Annotated[
    str | None,
    typer.Option(
        help="A clip shorter than one segment: pad or drop. (default: pad)",
        autocompletion=complete_words("pad", "drop"),
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

Remainder = Annotated[
    str | None,
    typer.Option(
        help="What is left behind the last whole segment: half (pad it if at least half of it is new), "
        "pad or drop. (default: half)",
        autocompletion=complete_words("half", "pad", "drop"),
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

DroppedShortClips = Annotated[
    str | None,
    typer.Option(
        help="A clip shorter than one segment: pad or drop. (default: drop)",
        autocompletion=complete_words("pad", "drop"),
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

DroppedRemainder = Annotated[
    str | None,
    typer.Option(
        help="What is left behind the last whole segment: half, pad or drop. (default: drop)",
        autocompletion=complete_words("half", "pad", "drop"),
        show_default=False,
        rich_help_panel=RECORDINGS,
    ),
]

Epochs = Annotated[
    int | None,
    typer.Option(help="Passes over the training segments. (preset)", show_default=False, rich_help_panel=RUN),
]

MaxSteps = Annotated[
    int | None,
    typer.Option(
        help="Steps after which the run ends at the latest. (preset)", show_default=False, rich_help_panel=RUN
    ),
]

LogEvery = Annotated[
    int | None,
    typer.Option(help="Steps between rows of metrics.csv. (preset)", show_default=False, rich_help_panel=RUN),
]

ValidateEvery = Annotated[
    int | None, typer.Option(help="Steps between validations. (preset)", show_default=False, rich_help_panel=RUN)
]

SaveEvery = Annotated[
    int | None, typer.Option(help="Steps between saved states. (preset)", show_default=False, rich_help_panel=RUN)
]

Workers = Annotated[
    int | None,
    typer.Option(help="Reader threads. (default: one per processor)", show_default=False, rich_help_panel=MACHINE),
]

ComputeDevice = Annotated[
    str | None,
    typer.Option(
        help="cpu, cuda, cuda:N or auto. (default: auto)",
        autocompletion=complete_words("auto", "cpu", "cuda"),
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]

Engine = Annotated[
    str | None,
    typer.Option(
        help="Engine of the generator: torch, openvino or auto. (default: auto)",
        autocompletion=complete_words("auto", "torch", "openvino"),
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]

Precision = Annotated[
    str | None,
    typer.Option(
        help="fp32, bf16, fp16 or auto. (default: auto)",
        autocompletion=complete_words("auto", "fp32", "bf16", "fp16"),
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]

TrainingPrecision = Annotated[
    str | None,
    typer.Option(
        help="fp32, bf16 or auto: bf16 where the machine has units for it. (default: auto)",
        autocompletion=complete_words("auto", "fp32", "bf16"),
        show_default=False,
        rich_help_panel=MACHINE,
    ),
]


def complete_device_ids(incomplete: str) -> list[str]:
    """Return the device ids that begin with what was typed, for shell completion."""
    from pathlib import Path

    from umc_cli.config import find_workspace
    from umc_cli.response.device import DeviceRegistry

    ids = DeviceRegistry(find_workspace(Path.cwd()).devices).ids()
    typed, _, last = incomplete.rpartition(",")
    return [f"{typed},{name}" if typed else name for name in ids if name.startswith(last)]

"""`umc simulate`."""

from pathlib import Path
from typing import Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.options import Json, Quiet, Verbose
from umc_cli.cli.settings_options import Given, with_options
from umc_cli.config import find_workspace, load_settings, refuse_without_effect
from umc_cli.settings.simulate import SECTION, SimulateSettings


@with_options(SimulateSettings, SECTION)
def command(
    given: Given,
    clips: Annotated[
        Path | None,
        typer.Argument(
            metavar="CLIPS",
            help="Folder that holds <label>/*.wav (or FLAC, MP3 and so on). Default: the workspace's recordings of "
            "--source.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a workspace of simulated devices with known truth, which all record your clips.

    With one phone only, this shows what a conversion would gain on your sounds: umc train-sec and umc eval work in the
    new workspace as on real devices.
    """
    from umc_cli.workflows.simulate import simulate

    workspace = find_workspace(Path.cwd())
    settings = load_settings(SimulateSettings, workspace, SECTION, given)
    if clips is not None:
        refuse_without_effect(settings, {"source": f"the clips of {clips} are played"}, given)
    try:
        report = simulate(
            workspace, settings, clips, lambda step: None if quiet else render.err().print(step, markup=False)
        )
    except KeyboardInterrupt:
        render.err().print("[yellow]Interrupted.[/] Nothing was written.")
        raise typer.Exit(130) from None
    render.print_problems(report, quiet, verbose, thing="clip", what="left out")
    if as_json:
        render.print_report(report)
        raise typer.Exit(report.exit_code)
    unseen = f" ({', '.join(report.unseen)}: test only)" if report.unseen else ""
    render.print_text(
        f"{render.count(report.n_recordings, 'recording')}: {render.count(report.n_clips, 'clip')} with "
        f"{render.count(report.labels, 'label')} x {render.count(len(report.devices), 'device')}{unseen}\n"
        f"workspace: {render.printable(report.output)}"
    )
    if not quiet:
        render.err().print(
            f"{report.devices[0]} stands for the phone that you have. Next, what conversion gains:\n"
            f"  cd {render.printable(report.output)}\n"
            "  umc train-sec --method none --preset cpu\n"
            "  umc train-sec --method unified-real --preset cpu\n"
            "  umc eval",
            markup=False,
        )
    raise typer.Exit(report.exit_code)

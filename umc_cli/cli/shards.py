"""`umc shards`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from umc_cli.cli import render
from umc_cli.cli.options import Json

if TYPE_CHECKING:
    from umc_cli.workflows.shards import ShardsReport


Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Folder that `umc convert` wrote to.")]


class _ListByDefault(TyperGroup):
    """`umc shards ROOT` means `umc shards list ROOT`."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["list", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(help="List the shards in a folder, or re-check them.", cls=_ListByDefault, no_args_is_help=True)


@app.command("list")
def list_command(root: Root, as_json: Json = False) -> None:
    """List what an output folder holds (`umc shards ROOT` does the same)."""
    from umc_cli.workflows.shards import list_shards

    _show(list_shards(root), as_json)


@app.command("verify")
def verify_command(root: Root, as_json: Json = False) -> None:
    """Re-check every shard and audio file: schema, row counts, checksums, and whether all of the plan exist."""
    from umc_cli.workflows.shards import verify_shards

    _show(verify_shards(root), as_json)


def _show(report: "ShardsReport", as_json: bool) -> None:
    render.print_failed(report.damaged, "", verbose=True, thing="shard", what="damaged or missing")
    if as_json:
        render.print_report(report)
    else:
        planned = f" of {report.n_planned_shards}" if report.n_planned_shards is not None else ""
        table = render.table(
            "target", "source", "converter", "shards", "segments", "MiB", right=["shards", "segments", "MiB"]
        )
        for target in report.targets:
            table.add_row(
                render.cell(target.target),
                render.cell(target.source),
                render.cell(target.converter),
                f"{target.n_shards}{planned}",
                str(target.n_segments),
                f"{target.n_bytes / 2**20:.1f}",
            )
        render.print_table(table)
        if report.n_verified:
            render.err().print(f"intact: {render.count(report.n_verified, 'shard')}")
        if report.n_audio_files:
            render.err().print(render.count(report.n_audio_files, "audio file"))
    raise typer.Exit(report.exit_code)

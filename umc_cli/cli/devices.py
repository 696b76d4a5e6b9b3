"""`umc devices`."""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from umc_cli.cli import render
from umc_cli.cli.completion import complete_device_ids
from umc_cli.cli.options import Json
from umc_cli.cli.plot import text_plot

if TYPE_CHECKING:
    from umc_cli.response.device import Device

app = typer.Typer(
    help="List, show or compare the devices that the workspace and the package know.", invoke_without_command=True
)


@app.callback()
def list_command(context: typer.Context, as_json: Json = False) -> None:
    """List, show or compare the devices that the workspace and the package know."""
    if context.invoked_subcommand:
        return
    from umc_cli.config import find_workspace
    from umc_cli.workflows.devices import list_devices

    report = list_devices(find_workspace(Path.cwd()))
    if as_json:
        devices = [device.model_dump(mode="json") for device in report.devices]
        content = {"registry": report.registry, "own": report.own, "replaced": report.replaced, "devices": devices}
        render.print_json(content)
        return
    own = f"{render.count(len(report.own), 'record')} in {report.registry}"
    shipped = f"{len(report.devices) - len(report.own)} of the package's library"
    render.err().print(render.printable(f"{own}, {shipped}"), markup=False)
    if report.replaced:
        replaced = f"the workspace's record replaces the library's: {', '.join(report.replaced)}"
        render.err().print(render.printable(replaced), markup=False)
    numbers = ["trusted Hz", "level dBFS", "floor dB"]
    table = render.table("id", "from", "name", "obtained", *numbers, right=numbers)
    for device in report.devices:
        where = "workspace" if device.id in report.own else "library"
        table.add_row(device.id, where, device.name, device.method, _trusted(device), _level(device), _floor(device))
    if not render.fits(table):  # then only names are broken, never ids and numbers
        for column in table.columns:
            if column.header != "name":
                column.width = max(len(word) for text in (column.header, *column.cells) for word in str(text).split())
    render.print_table(table)


@app.command("show")
def show_command(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="Device id.", autocompletion=complete_device_ids)],
    as_json: Json = False,
) -> None:
    """Print one device, with a small plot of its frequency response."""
    from umc_cli.config import find_workspace
    from umc_cli.workflows.devices import show_device

    device = show_device(find_workspace(Path.cwd()), device_id)
    if as_json:
        render.print_json(device.model_dump(mode="json"))
        return
    table = render.table("", "")
    table.show_header = False
    rows = {
        "id": device.id,
        "name": device.name,
        "obtained": device.method,
        "trusted range": f"{_trusted(device)} Hz",
        "level": f"{_level(device)} dBFS for 94 dB SPL at 1 kHz",
        "noise floor": f"{_floor(device)} dB (log-mel, median of bands)",
        "made from": ", ".join(source.file for source in device.sources) or "-",
        "published in": ", ".join(source.origin for source in device.sources if source.origin) or "-",
        "note": device.note or "-",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    render.print_table(table)
    render.print_text("\nfrequency response, dB re 1 kHz, over 128 mel bands")
    width = max(32, min(96, shutil.get_terminal_size().columns - 14))
    for line in text_plot(device.frequency_response_db, width, height=10, unit="dB"):
        render.print_text(line)
    render.print_text(frequency_axis(device.band_centres_hz, width))


@app.command("compare")
def compare_command(
    device_ids: Annotated[
        list[str],
        typer.Argument(
            metavar="ID ID...",
            help="Device ids; the others are compared with the first.",
            autocompletion=complete_device_ids,
        ),
    ],
    figure: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw them: .png, .svg or .pdf.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print the difference of each device's frequency response from that of the first device."""
    from umc_cli.config import find_workspace
    from umc_cli.workflows.devices import compare_devices

    report = compare_devices(find_workspace(Path.cwd()), device_ids, figure)
    if as_json:
        content = {"reference": report.devices[0].id, "compared": [asdict(each) for each in report.compared]}
        render.print_json(content | {"devices": [device.model_dump(mode="json") for device in report.devices]})
        return
    first = report.devices[0]
    width = max(32, min(96, shutil.get_terminal_size().columns - 14))
    for compared in report.compared:
        render.print_text(f"{compared.device} minus {first.id}, dB, over 128 mel bands")
        for line in text_plot(compared.fr_difference_db, width, height=8, unit="dB"):
            render.print_text(line)
        render.print_text(frequency_axis(first.band_centres_hz, width) + "\n")
    numbers = ["RMS dB", "largest dB", "level dB", "in Hz"]
    table = render.table("device", *numbers, right=numbers)
    for compared in report.compared:
        level = compared.level_difference_db
        table.add_row(
            compared.device,
            f"{compared.rms_db:.1f}",
            f"{compared.largest_db:.1f}",
            "unknown" if level is None else f"{level:+.1f}",
            "{:.0f}-{:.0f}".format(*compared.trusted_range_hz),
        )
    render.print_table(table)


def frequency_axis(centres_hz: tuple[float, ...], width: int) -> str:
    """Return the line below a `text_plot` over mel bands, with frequencies at their places."""
    axis = [" "] * (width + 6)
    for hertz, text in ((100, "100"), (1000, "1k"), (2000, "2k"), (4000, "4k"), (8000, "8k")):
        band = min(range(len(centres_hz)), key=lambda index: abs(centres_hz[index] - hertz))
        column = band * width // len(centres_hz)
        axis[column : column + len(text)] = text
    return " " * 12 + "".join(axis).rstrip() + " Hz"


def _trusted(device: "Device") -> str:
    low, high = device.trusted_range_hz
    return f"{low:.0f}-{high:.0f}"


def _level(device: "Device") -> str:
    return "unknown" if device.sensitivity_dbfs is None else f"{device.sensitivity_dbfs:.1f}"


def _floor(device: "Device") -> str:
    if device.noise_floor_db is None:
        return "unknown"
    return f"{sorted(device.noise_floor_db)[len(device.noise_floor_db) // 2]:.1f}"

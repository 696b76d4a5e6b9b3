"""`umc eval`: scores classifiers itself; below it stand what measures conversions and generators."""

import typer

from umc_cli.cli import evaluate_sec
from umc_cli.cli.evaluate_conversion import conversion_command
from umc_cli.cli.evaluate_layers import layers_command

app = typer.Typer()
app.callback(invoke_without_command=True)(evaluate_sec.command)
app.command("conversion")(conversion_command)
app.command("layers")(layers_command)

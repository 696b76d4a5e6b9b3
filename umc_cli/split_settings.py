"""Settings that say what recordings are for, of the commands that choose recordings by their split."""

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from umc_cli.config import RECORDINGS, Option, Settings, Workspace
from umc_cli.splits import SplitRules, parse_shares, parse_split_map, role

SplitName = Annotated[
    Literal["train", "val", "test", "train-converter"],
    BeforeValidator(lambda name: role(name) if isinstance(name, str) else name),
]
"""One of `SPLIT_NAMES`; an old name becomes the one of today."""


class SplitSettings(Settings):
    """How recordings get their splits; not given: as `[workspace]` in umc.toml says. No part of a run's settings."""

    shares: Annotated[
        dict[str, float] | None,
        BeforeValidator(lambda value: None if value is None else parse_shares(value)),
        Field(exclude=True),
        Option(RECORDINGS, metavar="SPLIT=PERCENT,...", default="train=80,test=20"),
    ] = None
    """Shares of the splits, of recordings that have none; better set once for all commands (docs/data-flow.md)."""
    split_map: Annotated[
        dict[str, str] | None,
        BeforeValidator(lambda value: None if value is None else parse_split_map(value)),
        Field(exclude=True),
        Option(RECORDINGS, metavar="SPLIT=NAME,...", default="the manifest's names are ours"),
    ] = None
    """What the manifest calls its splits: train=training,val=dev; better set once for all commands."""

    def applied_to(self, workspace: Workspace) -> Workspace:
        """Return the workspace with these rules over its own."""
        own = workspace.splits
        is_told = self.shares is not None
        names = {**own.names, **(self.split_map or {})}
        rules = SplitRules(self.shares or own.shares, names, shares_are_of_call=is_told)
        return replace(workspace, splits=rules)

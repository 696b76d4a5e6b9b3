"""The table of `umc eval` on terminals of several widths."""

import re
import sys

import pytest

from tests.evaluation.scored_models import scored_model
from umc_cli.cli.evaluate_sec import _show
from umc_cli.evaluation.device_table import table_row
from umc_cli.workflows.evaluate_sec import EvaluatedDevice, EvaluateSecReport

DEVICES = ["iphone14", "galaxys22", "ipad7", "tab_a8", "watch_se", "macbook", "lg_gram"]


def shown(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    scores = {device: 0.9 - number / 10 for number, device in enumerate(DEVICES)}
    replicates = {device: [score, score + 0.05] for device, score in scores.items()}
    methods = ("none", "gaussian-noise", "unified-real", "unified-real")
    models = [
        scored_model(scores, "iphone14", method, f"{method}-{seed}", replicates) for seed, method in enumerate(methods)
    ]
    report = EvaluateSecReport("val-sec", {device: EvaluatedDevice(20, 10, ("dog", "rain")) for device in DEVICES}, "")
    report.rows = [table_row(group, group[0].method) for group in (models[:1], models[1:2], models[2:])]
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _show(report, as_json=False, quiet=True, verbose=False)
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out).splitlines()


@pytest.mark.parametrize(
    ("width", "has_bootstrap", "has_devices"), [(80, False, False), (110, True, False), (200, True, True)]
)
def test_columns_that_there_is_no_room_for_are_left_out(
    width: int,
    has_bootstrap: bool,
    has_devices: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    lines = shown(width, monkeypatch, capsys)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert ("bootstrap" in text) == has_bootstrap
    assert ("galaxys22" in text) == has_devices
    for cell in ("gaussian-noise", "0.550 ± 0.179", "0.600 ± 0.185", "(sd 0.000)", "lg_gram"):
        assert cell in text

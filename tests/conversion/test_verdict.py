"""Which converter a workspace's own recordings choose."""

import json
from pathlib import Path

import pytest
import torch

from tests.conversion.devices import device
from umc_cli.config import find_workspace
from umc_cli.conversion.chosen.verdict import (
    VERDICTS_NAME,
    PairEvidence,
    SavedVerdict,
    judge,
    known_sha256,
    read_evidence,
    save_evidence,
    saved_verdict,
)
from umc_cli.conversion.converters.contract import Ingredients
from umc_cli.conversion.refiner_settings import SHIPPED_REFINER
from umc_cli.errors import SettingsError

NAMES = [f"take{index}" for index in range(6)]
FAR = [4.0, 4.2, 3.9, 4.1, 4.3, 4.0]
NEAR = [3.0, 3.1, 3.0, 3.2, 3.2, 2.9]
AMONG = ("refiner", "eq_noise", "eq")


def evidence(target: str = "b", known: str = "k", **distances_db: list[float]) -> PairEvidence:
    return PairEvidence("a", target, known, "val-sec", "2026-11-28", NAMES, distances_db)


def ingredients(*targets: str, level_db: float = -30.0) -> Ingredients:
    devices = {name: device(name, sensitivity_dbfs=level_db) for name in ("a", *targets)}
    return Ingredients("a", targets, devices, torch.device("cpu"), refiner=SHIPPED_REFINER)


def test_the_nearest_is_chosen_where_it_is_significantly_nearer() -> None:
    verdict = judge([evidence(refiner=FAR, eq_noise=NEAR, eq=FAR)], AMONG, "refiner")
    assert verdict is not None
    assert (verdict.converter, verdict.default, verdict.n_recordings) == ("eq_noise", "refiner", 6)
    assert (verdict.distance_db, verdict.default_db) == (pytest.approx(3.067, abs=1e-3), pytest.approx(4.083, abs=1e-3))
    assert verdict.p_value is not None
    assert verdict.p_value < 1e-4


def test_within_the_spread_the_default_stays() -> None:
    hardly = [4.1, 4.0, 3.8, 4.2, 4.2, 4.1]  # nearer by 0.017 dB, differences of 0.1 either way
    verdict = judge([evidence(refiner=FAR, eq_noise=hardly)], AMONG, "refiner")
    assert verdict is not None
    assert (verdict.converter, verdict.distance_db) == ("refiner", verdict.default_db)
    assert verdict.p_value is not None
    assert verdict.p_value > 0.5


def test_less_than_a_hundredth_is_not_worth_another_converter() -> None:
    slightly = [value - 0.03 for value in FAR[:5]] + [FAR[5] - 0.031]
    verdict = judge([evidence(refiner=FAR, eq_noise=slightly)], AMONG, "refiner")
    assert verdict is not None
    assert verdict.converter == "refiner"
    assert verdict.p_value is not None
    assert verdict.p_value < 1e-6


def test_several_targets_are_judged_together() -> None:
    one = evidence("b", refiner=FAR, eq_noise=NEAR)
    other = evidence("c", refiner=NEAR, eq_noise=FAR)
    verdict = judge([one, other], AMONG, "refiner")
    assert verdict is not None
    assert (verdict.converter, verdict.targets, verdict.n_recordings) == ("refiner", ["b", "c"], 6)
    assert verdict.distance_db == pytest.approx(3.575, abs=1e-3)


def test_what_gives_no_verdict() -> None:
    assert judge([], AMONG, "refiner") is None
    assert judge([evidence(eq_noise=NEAR)], AMONG, "refiner") is None  # the default was not measured
    few = PairEvidence("a", "b", "k", "val-sec", "", NAMES[:4], {"refiner": FAR[:4], "eq_noise": NEAR[:4]})
    assert judge([few], AMONG, "refiner") is None
    only_able = judge([evidence(refiner=FAR, eq_noise=NEAR)], ("refiner",), "refiner")
    assert only_able is not None
    assert only_able.converter == "refiner"


def test_a_verdict_is_kept_and_holds_as_long_as_what_it_was_measured_with(tmp_path: Path) -> None:
    workspace, known = find_workspace(tmp_path), ingredients("b", "c")
    assert saved_verdict(workspace, known, AMONG, "refiner") == SavedVerdict(None)
    of_b = evidence("b", known_sha256(known, "b"), refiner=FAR, eq_noise=NEAR)
    save_evidence(workspace, [of_b])
    assert read_evidence(workspace) == [of_b]
    found = saved_verdict(workspace, ingredients("b"), AMONG, "refiner")
    assert found.verdict is not None
    assert found.verdict.converter == "eq_noise"
    assert (found.about["split"], found.about["date"], found.about["targets"]) == ("val-sec", "2026-11-28", ["b"])
    more = saved_verdict(workspace, known, AMONG, "refiner")
    assert more.verdict is None
    assert "does not cover c: name only targets that it covers (b)" in str(more.caution)
    changed = saved_verdict(workspace, ingredients("b", level_db=-20.0), AMONG, "refiner")
    assert changed.verdict is None
    assert "records or weights for b changed since: run it again" in str(changed.caution)
    assert saved_verdict(workspace, ingredients("d"), AMONG, "refiner") == SavedVerdict(None)
    save_evidence(workspace, [evidence("c", known_sha256(known, "c"), refiner=NEAR, eq_noise=NEAR)])
    assert [one.target for one in read_evidence(workspace)] == ["b", "c"]
    both = saved_verdict(workspace, known, AMONG, "refiner")
    assert both.verdict is not None
    assert both.verdict.converter == "eq_noise"


@pytest.mark.parametrize(("transport", "chosen"), [(NEAR, "transport"), (FAR, "refiner_quantile")])
def test_what_an_earlier_version_measured_counts_until_it_is_measured_again(
    tmp_path: Path, transport: list[float], chosen: str
) -> None:
    workspace, known = find_workspace(tmp_path), ingredients("b")
    measured = {"refiner_quantile": FAR, "transport": transport}
    save_evidence(workspace, [evidence("b", known_sha256(known, "b"), **measured)])
    found = saved_verdict(workspace, known, ("refiner_transport", *measured), "refiner_transport")
    assert found.verdict is not None
    assert (found.verdict.converter, found.verdict.default) == (chosen, "refiner_quantile")
    assert "did not measure refiner_transport, which this version of umc takes: run it again" in str(found.caution)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ('{"format": "umc-run"}', "is not a file of verdicts"),
        (json.dumps({"format": "umc-nearest-converters", "format_version": 1, "pairs": 3}), "is damaged"),
        (
            json.dumps(
                {
                    "format": "umc-nearest-converters",
                    "format_version": 1,
                    "pairs": [
                        dict.fromkeys(("source", "target", "known_sha256", "split", "date"), "a")
                        | {"recordings": ["x"], "distances_db": {"eq": []}}
                    ],
                }
            ),
            "not every recording has a distance",
        ),
    ],
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / VERDICTS_NAME).write_text(content)
    with pytest.raises(SettingsError, match=message) as error:
        read_evidence(find_workspace(tmp_path))
    assert "remove it" in error.value.hint

"""`umc eval --predictions`: models of which only what they said is known, in tables of which every score is known."""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from sklearn.metrics import f1_score

from tests.samples import Run

Umc = Callable[..., Run]

DEVICES = ("phone", "tablet", "watch")
LABELS = ("hum", "tick")
N = 4
"""Recordings of each label in split val-sec; two more in split train-sec."""
WRONG = {"phone": 0, "tablet": 1, "watch": 3}
"""Of the recordings of `hum`, those that the model takes for `tick`."""


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace whose manifest names recordings; no audio is read."""
    root = tmp_path / "workspace"
    lines = ["path,device,label,split,recording"]
    for device in DEVICES:
        for label in LABELS:
            for number in range(N + 2):
                split = "val-sec" if number < N else "train-sec"
                lines.append(f"{device}/{label}{number}.wav,{device},{label},{split},{label} {number}")
    (root / "data").mkdir(parents=True)
    (root / "data/manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def answers(wrong: Mapping[str, int] = WRONG, devices: Iterable[str] = DEVICES) -> list[dict[str, Any]]:
    """Rows of a model that takes some hums for ticks."""
    return [
        {
            "path": f"{device}/{label}{number}.wav",
            "device": device,
            "label": label,
            "predicted": "tick" if label == "tick" or number < wrong[device] else "hum",
        }
        for device in devices
        for label in LABELS
        for number in range(N)
    ]


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]], separator: str = ",") -> Path:
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), delimiter=separator)
        table.writeheader()
        table.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def macro_f1(device: str, wrong: Mapping[str, int] = WRONG) -> float:
    rows = answers(wrong, [device])
    return float(f1_score([row["label"] for row in rows], [row["predicted"] for row in rows], average="macro"))


def score(umc: Umc, *options: object) -> dict[str, Any]:
    run = umc("eval", "--json", "--quiet", "--bootstrap", "50", *map(str, options))
    assert run.exit_code == 0, run.stderr
    result: dict[str, Any] = run.json
    return result


def scores_of(report: Mapping[str, Any], row: int = 0) -> dict[str, float]:
    return {device: scores["macro_f1"] for device, scores in report["rows"][row]["devices"].items()}


def test_a_model_trained_elsewhere_gets_the_table_per_device(umc: Umc, workspace: Path) -> None:
    write_csv(workspace / "mine.csv", answers())
    report = score(umc, "--predictions", "mine.csv", "--source", "phone")
    (row,) = report["rows"]
    assert (row["label"], row["source"], row["worst_device"]) == ("mine", "phone", "watch")
    assert scores_of(report) == pytest.approx({device: macro_f1(device) for device in DEVICES})
    assert row["mean_without_source"]["mean"] == pytest.approx((macro_f1("tablet") + macro_f1("watch")) / 2)
    assert row["mean_with_source"]["n_devices"] == 3
    assert row["mean_without_source"]["bootstrap"]["low"] < row["mean_without_source"]["mean"]
    assert report["devices"]["watch"] == {"n_segments": 8, "n_recordings": 8, "labels": ["hum", "tick"]}
    assert report["models"][0]["devices"]["watch"]["confusion"] == [[1, 3], [0, 4]]


def test_without_a_source_the_mean_is_over_all_devices(umc: Umc, workspace: Path) -> None:
    write_csv(workspace / "mine.csv", answers())
    (row,) = score(umc, "--predictions", "mine.csv")["rows"]
    assert (row["source"], row["mean_with_source"]) == ("", None)
    assert row["mean_without_source"]["n_devices"] == 3
    shown = umc("eval", "--predictions", "mine.csv", "--bootstrap", "0")
    assert shown.exit_code == 0
    assert "mine" in shown.stdout


def by_scores(row: Mapping[str, Any]) -> dict[str, Any]:
    scores = {label: 0.7 if label == row["predicted"] else 0.2 for label in LABELS}
    return {"recording": f"{row['label']} {row['path'][-5]}", "device": row["device"], "scores": scores}


@pytest.mark.parametrize("kind", ["scores.jsonl", "scores.csv", "recording.tsv", "semicolon.csv", "absolute.csv"])
def test_every_kind_of_table_says_the_same(umc: Umc, workspace: Path, kind: str) -> None:
    path, rows = workspace / kind, answers()
    if kind == "scores.jsonl":
        write_jsonl(path, map(by_scores, rows))
    elif kind == "scores.csv":
        flat = (
            {**row, **{f"scores:{key}": value for key, value in row["scores"].items()}} for row in map(by_scores, rows)
        )
        write_csv(path, [{key: value for key, value in row.items() if key != "scores"} for row in flat])
    elif kind == "absolute.csv":
        write_csv(path, [{"path": workspace / "data" / row["path"], "predicted": row["predicted"]} for row in rows])
    else:
        named = [by_scores(row) | {"predicted": row["predicted"]} for row in rows]
        for row in named:
            del row["scores"]
        write_csv(path, named, "\t" if kind == "recording.tsv" else ";")
    assert scores_of(score(umc, "--predictions", kind)) == pytest.approx({name: macro_f1(name) for name in DEVICES})


def test_parts_of_a_recording_are_told_apart_by_their_start(umc: Umc, workspace: Path) -> None:
    parts = [row | {"start_s": start} for row in answers() for start in (0, 0.93)]
    write_csv(workspace / "mine.csv", parts)
    report = score(umc, "--predictions", "mine.csv")
    assert report["devices"]["phone"]["n_segments"] == 16
    assert report["devices"]["phone"]["n_recordings"] == 8
    assert scores_of(report) == pytest.approx({device: macro_f1(device) for device in DEVICES})


def test_models_are_compared_on_the_same_rows_and_gaps_are_closed(umc: Umc, workspace: Path) -> None:
    perfect, bad = dict.fromkeys(DEVICES, 0), dict.fromkeys(DEVICES, 4)
    for name, wrong in (("ideal", perfect), ("none", bad), ("between", WRONG)):
        rows = [row | {"source": "phone", "method": name, "seed": 0} for row in answers(wrong)]
        write_csv(workspace / f"{name}.csv", list(reversed(rows)) if name == "none" else rows)
    files = "ideal.csv,none.csv,between.csv"
    report = score(umc, "--predictions", files, "--compare", "between:none", "--output", "report")
    gaps = {row["label"]: row["gap_closed"] for row in report["rows"]}
    low, middle, high = (
        sum(macro_f1(device, wrong) for device in ("tablet", "watch")) / 2 for wrong in (bad, WRONG, perfect)
    )
    assert gaps == pytest.approx({"ideal": 1.0, "none": 0.0, "between": (middle - low) / (high - low)})
    tablet = report["comparisons"][0]["devices"]["tablet"]
    # of four hums the one model gets three right, the other none; both get all ticks
    assert (tablet["mcnemar"]["only_first_right"], tablet["mcnemar"]["only_second_right"]) == (3, 0)
    page = (workspace / "report/report.html").read_text()
    assert "between" in page
    assert {path.name for path in (workspace / "report").iterdir()} == {
        "report.html", "scores.csv", "scores.md", "scores.json"
    }  # fmt: skip


def test_one_file_may_hold_several_models_and_seeds(umc: Umc, workspace: Path) -> None:
    rows = [
        row | {"model": f"net-{seed}", "method": "net", "source": "phone", "seed": seed}
        for seed in (1, 2)
        for row in answers(WRONG if seed == 1 else dict.fromkeys(DEVICES, 0))
    ]
    report = score(umc, "--predictions", write_csv(workspace / "all.csv", rows))
    (row,) = report["rows"]
    assert (row["label"], row["models"]) == ("net (2 seeds)", ["net-1", "net-2"])
    assert row["devices"]["watch"]["macro_f1"] == pytest.approx((macro_f1("watch") + 1) / 2)


def test_recordings_left_out_and_of_other_splits_are_told(umc: Umc, workspace: Path) -> None:
    rows = [*answers()[1:], {"path": "phone/hum4.wav", "device": "phone", "label": "hum", "predicted": "hum"}]
    write_csv(workspace / "mine.csv", rows)
    told = score(umc, "--predictions", "mine.csv")["warnings"]
    assert any("mine says nothing of 1 of 8 recordings of phone, such as 'hum 0'" in each for each in told)
    assert any("rows of recordings in other splits do not count: 1" in each for each in told)


def test_without_recordings_the_table_speaks_for_itself(umc: Umc, workspace: Path) -> None:
    shutil.rmtree(workspace / "data")
    write_csv(workspace / "mine.csv", answers())
    report = score(umc, "--predictions", "mine.csv", "--source", "phone")
    assert scores_of(report) == pytest.approx({device: macro_f1(device) for device in DEVICES})
    assert any("devices and labels are what the predictions say" in each for each in report["warnings"])
    assert list(score(umc, "--predictions", "mine.csv", "--devices", "watch")["devices"]) == ["watch"]
    refused = umc("eval", "--predictions", "mine.csv", "--devices", "wach")
    assert "have no row of 'wach'" in refused.stderr
    assert report["split"] == ""
    write_csv(workspace / "bare.csv", [{"path": "a.wav", "predicted": "hum"}])
    assert "line 2 has no device, which nothing else says" in umc("eval", "--predictions", "bare.csv").stderr


def change(number: int, **values: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[number].update(values)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(0, path="phone/none.wav"), "line 2 is of an unknown recording: there is no 'phone/none.wav'"),
        (
            lambda rows: rows.append(rows[3]),
            "line 26 is a second prediction of 'phone/hum3.wav' on phone, after line 5",
        ),
        (
            lambda rows: rows.__delitem__(slice(16, None)),
            "have no row of 'watch', which has recordings in split test",
        ),
        (change(2, label="tick"), "line 4 says label 'tick', but the recording has 'hum'"),
        (change(2, device="watch"), "line 4 says device 'watch', but the recording has 'phone'"),
        (change(1, predicted=""), "line 3 has neither a predicted label nor scores"),
        (change(1, path=""), "line 3 names neither path nor recording"),
        (lambda rows: [row.update(source="phon") for row in rows], "trained on an unknown device 'phon'"),
        (lambda rows: [row.update(seed=row["label"]) for row in rows], "another source, method or seed"),
        (lambda rows: [row.update(start_s="soon") for row in rows], "has start_s 'soon', which is not a number"),
        (lambda rows: [row.update({"predicted": "", "scores:hum": "much"}) for row in rows], "score 'much' for 'hum'"),
        (
            lambda rows: [row.update({"predicted": "", "scores:hum": 1, "scores:tick": 1.0}) for row in rows],
            "has the same highest score for 'hum', 'tick'",
        ),
        (lambda rows: [row.pop("path") for row in rows], "names neither path nor recording"),
    ],
)
def test_what_cannot_be_scored_is_refused_with_its_line(
    umc: Umc, workspace: Path, spoil: Callable[[list[dict[str, Any]]], Any], message: str
) -> None:
    rows = answers()
    spoil(rows)
    write_csv(workspace / "mine.csv", rows)
    refused = umc("eval", "--predictions", "mine.csv")
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())
    assert "Hint:" in refused.stderr


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"recording": "hum 9", "device": "phone"}, "is of an unknown recording 'hum 9' of phone"),
        ({"recording": "hum 1", "device": "fone"}, "is of an unknown device 'fone'"),
        ({"recording": "hum 1"}, "does not say on which device 'hum 1' was recorded"),
        (5, "line 1 is not a JSON object"),
    ],
)
def test_rows_by_recording_are_found_or_named(umc: Umc, workspace: Path, row: Any, message: str) -> None:
    write_jsonl(workspace / "mine.jsonl", [row | {"predicted": "hum"} if isinstance(row, dict) else row])
    refused = umc("eval", "--predictions", "mine.jsonl")
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())


def test_many_bad_lines_are_counted(umc: Umc, workspace: Path) -> None:
    write_csv(workspace / "mine.csv", [row | {"predicted": ""} for row in answers()])
    refused = umc("eval", "--predictions", "mine.csv")
    assert "and 19 more" in refused.stderr


def test_models_of_different_rows_cannot_be_compared(umc: Umc, workspace: Path) -> None:
    write_csv(workspace / "all.csv", answers())
    write_csv(workspace / "some.csv", answers()[1:])
    refused = umc("eval", "--predictions", "all.csv,some.csv", "--compare", "all:some")
    assert refused.exit_code == 2
    assert "on phone only one of them has a prediction of 'phone/hum0.wav'" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot read predictions missing.csv"), ("", "hold no row"), ("path,predicted\n", "hold no row")],
)
def test_files_without_predictions_are_named(umc: Umc, workspace: Path, content: str | None, message: str) -> None:
    if content is not None:
        (workspace / "missing.csv").write_text(content)
    refused = umc("eval", "--predictions", "missing.csv")
    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())

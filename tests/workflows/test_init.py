"""`umc init` writes an umc.toml that changes nothing, and says everything."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import SOURCE, Run, write_audio
from umc_cli.config import SECTIONS, find_workspace, load_settings
from umc_cli.settings.sections import settings_of

Umc = Callable[..., Run]
REQUIRED = {"source": SOURCE, "device": SOURCE, "reference_device": SOURCE, "kind": "sweep"}


def test_the_file_changes_nothing_but_names_the_source(workspace: Path, umc: Umc) -> None:
    before = find_workspace(workspace)
    report = umc("init", "--sections", "all", "--json").json
    assert report["sections"] == list(SECTIONS[1:])
    assert report["source"] == SOURCE
    written = tomllib.loads((workspace / "umc.toml").read_text())
    sources = {name: {"source": SOURCE} for name, section in written.items() if "source" in section}
    assert written == {"workspace": {}, **{key: {} for key in SECTIONS[1:]}, **sources}
    assert sources.keys() >= {"convert", "train-sec"}
    after = find_workspace(workspace)
    assert (after.data, after.converted, after.splits) == (before.data, before.converted, before.splits)


@pytest.mark.parametrize("section", SECTIONS[1:])
def test_what_stands_in_comments_are_the_defaults(workspace: Path, umc: Umc, section: str) -> None:
    umc("init", "--sections", section)
    lines = (workspace / "umc.toml").read_text().partition(f"[{section}]")[2].splitlines()
    texts = [line.removeprefix("# ") for line in lines]
    values = tomllib.loads("\n".join(text for text in texts if _is_setting(text)))
    schema = settings_of(section)
    given = {name: value for name, value in REQUIRED.items() if name in schema.model_fields}
    plain = load_settings(schema, find_workspace(workspace / "data"), section, given)
    spelled_out = schema.model_validate({**values, **given})
    assert spelled_out == plain
    assert values or section == "make-stimulus"


def _is_setting(text: str) -> bool:
    name, sign, value = text.partition(" = ")
    return bool(sign) and name.isidentifier() and not value.startswith("...")


def test_variables_are_written_down(workspace: Path, umc: Umc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_CONVERT_SHARD_SIZE", "512")
    monkeypatch.setenv("UMC_SHARES", "train=70,val=10,test=20")
    monkeypatch.setenv("UMC_RUNS", str(workspace / "elsewhere"))
    assert umc("init").exit_code == 0
    monkeypatch.undo()
    content = tomllib.loads((workspace / "umc.toml").read_text())
    assert content["workspace"] == {"runs": "elsewhere", "shares": "train=70,val=10,test=20"}
    assert content["convert"] == {"source": SOURCE, "shard_size": "512"}
    found = find_workspace(workspace)
    assert found.splits.in_words() == "train=70,val=10,test=20"
    assert load_settings(settings_of("convert"), found, "convert", {}).model_dump()["shard_size"] == 512


def test_with_several_devices_none_is_named(workspace: Path, umc: Umc) -> None:
    write_audio(workspace / "data/other/a/1.wav")
    run = umc("init")
    assert "wrote umc.toml" in run.stdout
    assert "--source <device>" in run.stderr
    assert "source" not in tomllib.loads((workspace / "umc.toml").read_text())["convert"]


def test_nothing_is_replaced(workspace: Path, umc: Umc) -> None:
    (workspace / "umc.toml").write_text("# mine\n")
    run = umc("init")
    assert run.exit_code == 2
    assert "umc.toml exists" in run.stderr
    assert (workspace / "umc.toml").read_text() == "# mine\n"


def test_a_workspace_within_another_is_warned_of(workspace: Path, umc: Umc) -> None:
    (workspace / "umc.toml").write_text("")
    (workspace / "inner").mkdir()
    assert "counts in its place" in umc("init", "inner").stderr


@pytest.mark.parametrize(
    ("sections", "message"), [("convrt", "unknown section 'convrt'"), ("workspace", "unknown"), ("", "no section")]
)
def test_wrong_sections_are_refused(workspace: Path, umc: Umc, sections: str, message: str) -> None:
    run = umc("init", "--sections", sections)
    assert run.exit_code == 2
    assert message in run.stderr
    assert not (workspace / "umc.toml").exists()


def test_a_folder_that_does_not_exist_yet_is_made(workspace: Path, umc: Umc) -> None:
    assert umc("init", "new/place").exit_code == 0
    assert (workspace / "new/place/umc.toml").is_file()

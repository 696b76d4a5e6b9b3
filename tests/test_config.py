from pathlib import Path

import pytest

from umc_cli.config import Settings, find_workspace, load_settings
from umc_cli.errors import SettingsError


class Example(Settings):
    source: str
    hop: int = 7


def test_the_workspace_is_found_by_walking_up(tmp_path: Path) -> None:
    (tmp_path / "umc.toml").write_text('[workspace]\ndata = "recordings"\ndevices = "/elsewhere"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    workspace = find_workspace(tmp_path / "deep" / "er")
    assert workspace.root == tmp_path
    assert workspace.data == tmp_path / "recordings"
    assert workspace.devices == Path("/elsewhere")
    assert workspace.converted == tmp_path / "converted"


def test_later_layers_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "umc.toml").write_text('[example]\nsource = "toml"\nhop = 1\n')
    workspace = find_workspace(tmp_path)
    assert load_settings(Example, workspace, "example", {"hop": None}) == Example(source="toml", hop=1)
    monkeypatch.setenv("UMC_EXAMPLE_HOP", "2")
    assert load_settings(Example, workspace, "example", {}) == Example(source="toml", hop=2)
    assert load_settings(Example, workspace, "example", {"hop": 3}) == Example(source="toml", hop=3)
    assert load_settings(Example, find_workspace(tmp_path / ".."), "example", {"source": "x"}).hop == 2


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("[example]\nhops = 1\n", r"setting 'hops' from umc.toml \[example\]: Extra inputs"),
        ('[example]\nhop = "many"\n', r"setting 'hop' from umc.toml \[example\]: Input should be a valid integer"),
        ("example = 3\n", "'example' is not a section"),
        ("[example]\n", "setting 'source': Field required"),
    ],
)
def test_wrong_settings_say_where_they_come_from(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "umc.toml").write_text(toml)
    with pytest.raises(SettingsError, match=message):
        load_settings(Example, find_workspace(tmp_path), "example", {})


@pytest.mark.parametrize(
    ("toml", "message"), [("[workspace\n", "not valid TOML"), ("[workspace]\ndat = 1\n", "unknown name 'dat'")]
)
def test_a_broken_workspace_file_is_named(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "umc.toml").write_text(toml)
    with pytest.raises(SettingsError, match=message) as error:
        find_workspace(tmp_path)
    assert "umc.toml" in error.value.message


def test_folders_can_come_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_DATA", "/somewhere")
    assert find_workspace(tmp_path).data == Path("/somewhere")

from pathlib import Path
from typing import Annotated

import pytest

from umc_cli.config import Names, Paths, Settings, WordOrPath, find_workspace, load_settings
from umc_cli.errors import SettingsError


class Example(Settings):
    source: str
    hop: int = 7


class WithFolder(Example):
    folder: Path | None = None


class WithLists(Example):
    pictures: Paths = ()
    models: Annotated[Names, WordOrPath()] = ()
    targets: Annotated[Names, WordOrPath(prefix="synth:")] = ()
    learn_from: Annotated[str, WordOrPath(words=("devices",))] = "devices"


def test_the_workspace_is_found_by_walking_up(tmp_path: Path) -> None:
    (tmp_path / "umc.toml").write_text('[workspace]\ndata = "recordings"\ndevices = "/elsewhere"\n')
    (tmp_path / "deep" / "er").mkdir(parents=True)
    workspace = find_workspace(tmp_path / "deep" / "er")
    assert workspace.root == tmp_path
    assert workspace.data == tmp_path / "recordings"
    assert workspace.devices == Path("/elsewhere")
    assert workspace.converted == tmp_path / "converted"


def test_later_layers_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "umc.toml").write_text('[convert]\nsource = "toml"\nhop = 1\n')
    workspace = find_workspace(tmp_path)
    assert load_settings(Example, workspace, "convert", {"hop": None}) == Example(source="toml", hop=1)
    monkeypatch.setenv("UMC_CONVERT_HOP", "2")
    assert load_settings(Example, workspace, "convert", {}) == Example(source="toml", hop=2)
    assert load_settings(Example, workspace, "convert", {"hop": 3}) == Example(source="toml", hop=3)
    assert load_settings(Example, find_workspace(tmp_path / ".."), "convert", {"source": "x"}).hop == 2


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        (
            "[convert]\nhops = 1\n",
            r"setting 'hops' from umc.toml \[convert\]: .*; did you mean 'hop'",
        ),
        ('[convert]\nhop = "many"\n', r"setting 'hop' from umc.toml \[convert\] is 'many': must be a whole number"),
        ("convert = 3\n", "'convert' is not a section"),
        ("[convert]\n", "setting 'source' is required"),
    ],
)
def test_wrong_settings_say_where_they_come_from(tmp_path: Path, toml: str, message: str) -> None:
    (tmp_path / "umc.toml").write_text(toml)
    with pytest.raises(SettingsError, match=message):
        load_settings(Example, find_workspace(tmp_path), "convert", {})


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


def test_a_variable_of_a_longer_section_is_left_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_EVAL_LAYERS_SOURCE", "of layers")
    monkeypatch.setenv("UMC_EVAL_SOURCE", "of eval")
    workspace = find_workspace(tmp_path)
    assert load_settings(Example, workspace, "eval", {}).source == "of eval"
    assert load_settings(Example, workspace, "eval-layers", {}).source == "of layers"


def test_an_unknown_variable_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMC_CONVERT_HOPP", "2")
    with pytest.raises(SettingsError, match="setting 'hopp' from the environment"):
        load_settings(Example, find_workspace(tmp_path), "convert", {"source": "x"})


def test_paths_in_the_workspace_file_start_at_its_folder(tmp_path: Path) -> None:
    (tmp_path / "umc.toml").write_text('[convert]\nsource = "a"\nfolder = "there"\n')
    (tmp_path / "deep").mkdir()
    workspace = find_workspace(tmp_path / "deep")
    assert load_settings(WithFolder, workspace, "convert", {}).folder == tmp_path / "there"
    assert load_settings(WithFolder, workspace, "convert", {"folder": "here"}).folder == Path("here")


@pytest.mark.parametrize(
    "lists",
    [
        'pictures = ["a.png", "/b.png"]\nmodels = ["run", "old/best"]\n'
        'targets = ["pixel3", "synth:5", "synth:old/set"]\n',
        'pictures = "a.png, /b.png"\nmodels = "run,old/best"\ntargets = "pixel3,synth:5,synth:old/set"\n',
    ],
)
def test_so_do_paths_in_lists_and_in_texts_that_may_be_words(tmp_path: Path, lists: str) -> None:
    (tmp_path / "umc.toml").write_text(f'[convert]\nsource = "a"\n{lists}learn_from = "devices"\n')
    for name in ("deep", "devices", "old"):
        (tmp_path / name).mkdir()
    for name in ("best", "set"):
        (tmp_path / "old" / name).touch()
    workspace = find_workspace(tmp_path / "deep")
    found = load_settings(WithLists, workspace, "convert", {})
    assert found.pictures == (tmp_path / "a.png", Path("/b.png"))
    assert found.models == ("run", str(tmp_path / "old/best"))
    assert found.targets == ("pixel3", "synth:5", f"synth:{tmp_path / 'old/set'}")
    assert found.learn_from == "devices"
    given = {"pictures": "a.png", "models": "old/best", "targets": "synth:old/set", "learn_from": "old"}
    found = load_settings(WithLists, workspace, "convert", given)
    assert found.model_dump(include=set(given)) == {
        "pictures": (Path("a.png"),),
        "models": ("old/best",),
        "targets": ("synth:old/set",),
        "learn_from": "old",
    }


def test_a_zero_byte_in_a_run_s_settings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="setting 'folder' from the defaults holds a zero byte"):
        load_settings(WithFolder, find_workspace(tmp_path), "convert", {"source": "a"}, {"folder": "a\0b"})

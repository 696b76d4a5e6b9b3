"""Builds can be told apart: version, commit, and what an output folder says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.samples import Run
from umc_cli import __version__, build_info
from umc_cli.shards.builds import BUILDS_NAME, read_builds

FIRST, SECOND = "1" * 40, "2" * 40


def checkout(root: Path, head: str) -> Path:
    (root / "umc_cli").mkdir(parents=True)
    (root / ".git/refs/heads").mkdir(parents=True)
    (root / ".git/HEAD").write_text(head + "\n")
    return root / "umc_cli"


def test_a_package_says_which_commit_it_was_built_from(tmp_path: Path) -> None:
    package = checkout(tmp_path, FIRST)
    assert build_info.commit(package) == FIRST
    (package / build_info.COMMIT_NAME).write_text(SECOND + "\n")
    assert build_info.commit(package) == SECOND


def test_a_checkout_says_which_branch_is_out(tmp_path: Path) -> None:
    package = checkout(tmp_path, "ref: refs/heads/main")
    assert build_info.commit(package) is None
    (tmp_path / ".git/packed-refs").write_text(f"# pack-refs\n{FIRST} refs/heads/other\n{SECOND} refs/heads/main\n")
    assert build_info.commit(package) == SECOND
    (tmp_path / ".git/refs/heads/main").write_text(FIRST)
    assert build_info.commit(package) == FIRST


def test_a_further_worktree_is_a_checkout_too(tmp_path: Path) -> None:
    checkout(tmp_path / "first", "ref: refs/heads/main")
    (tmp_path / "first/.git/refs/heads/mine").write_text(SECOND)
    own = tmp_path / "first/.git/worktrees/mine"
    own.mkdir(parents=True)
    (own / "HEAD").write_text("ref: refs/heads/mine\n")
    (own / "commondir").write_text("../..\n")
    (tmp_path / "second/umc_cli").mkdir(parents=True)
    (tmp_path / "second/.git").write_text(f"gitdir: {own}\n")
    assert build_info.commit(tmp_path / "second/umc_cli") == SECOND


@pytest.mark.parametrize("content", [None, b"", b"not a commit", b"\xff\xfe"])
def test_nothing_is_claimed_where_nothing_is_known(tmp_path: Path, content: bytes | None) -> None:
    (tmp_path / "umc_cli").mkdir()
    if content is not None:
        (tmp_path / "umc_cli" / build_info.COMMIT_NAME).write_bytes(content)
    assert build_info.commit(tmp_path / "umc_cli") is None


def test_the_command_names_version_and_commit(umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build_info, "commit", lambda: FIRST)
    assert umc("--version").stdout == f"umc {__version__} (111111111111)\n"
    monkeypatch.setattr(build_info, "commit", lambda: None)
    assert umc("--version").stdout == f"umc {__version__}\n"


def test_an_output_folder_remembers_the_builds_that_worked_on_it(
    workspace: Path, convert: Callable[..., Run], umc: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = workspace / "converted"
    monkeypatch.setattr("umc_cli.shards.builds.commit", lambda: FIRST)
    convert()
    shard = (root / "pixel3/shard-00000.h5").read_bytes()
    first = (root / BUILDS_NAME).read_bytes()
    convert()
    assert (root / BUILDS_NAME).read_bytes() == first
    monkeypatch.setattr("umc_cli.shards.builds.commit", lambda: SECOND)
    (root / "pixel3/shard-00000.h5").unlink()
    convert()
    assert [build["commit"] for build in read_builds(root)] == [FIRST, SECOND]
    assert [build["umc"] for build in umc("shards", "converted", "--json").json["builds"]] == [__version__] * 2
    assert (root / "pixel3/shard-00000.h5").read_bytes() == shard
    (root / BUILDS_NAME).write_text("{")
    assert convert().exit_code == 0
    assert [build["commit"] for build in read_builds(root)] == [SECOND]

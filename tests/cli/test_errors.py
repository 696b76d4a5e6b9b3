"""How errors end a command."""

import json
from collections.abc import Callable

import pytest

from tests.samples import Run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("convert", "--source", "nobody", "--json"), "no recordings of 'nobody'"),
        (("eval", "conversion", "--json"), "setting 'source' is required: give --source"),
        (("convert", "--json", "--nonsense"), "No such option: --nonsense"),
        (
            ("eval", "conversion", "--json", "--seeds", "many", "--source", "a"),
            "--seeds is 'many': must be a whole number",
        ),
        (("eval", "conversion", "--json", "--source", "nobody", "--seeds", "0"), "--seeds is '0': must be at least 1"),
        (("nonsense", "--json"), "No such command 'nonsense'"),
        (("shards", "nowhere", "--json"), "nowhere"),
    ],
)
def test_an_error_under_json_is_json(umc: Callable[..., Run], arguments: tuple[str, ...], message: str) -> None:
    run = umc(*arguments)
    content = json.loads(run.stdout)
    assert message in content["error"]["message"]
    assert content["exit_code"] == run.exit_code == 2
    assert message in " ".join(run.stderr.split())


def test_without_json_standard_output_stays_empty(umc: Callable[..., Run]) -> None:
    run = umc("convert", "--source", "nobody")
    assert run.stdout == ""
    assert "Error: " in run.stderr

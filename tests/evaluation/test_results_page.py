"""The page of scores, as text and in a browser."""

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.evaluation.scored_models import scored_model
from umc_cli.evaluation.device_table import source_matrices, table_row, with_gap_closed
from umc_cli.evaluation.macro_f1 import Interval
from umc_cli.evaluation.paired_comparison import Comparison, DeviceComparison, McNemar, PairedDifference
from umc_cli.evaluation.report.results_page import Picture, ResultsPage, SpectrogramRows, render_results_page
from umc_cli.evaluation.report.results_table import scores_csv, scores_markdown

NASTY = "<script>throw 1</script>"
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DEVICES = ["phone", "tablet", "watch"]


def page(label: str = "dog", **changes: object) -> ResultsPage:
    """Return a page of two methods and two sources, three devices and three classes."""
    classes = (label, "rain", "saw")
    replicates = {device: [0.4, 0.5, 0.6] for device in DEVICES}  # 2.5 % and 97.5 % of them: 0.405, 0.595
    scores = {
        ("phone", "none"): (0.9, 0.5, 0.1),
        ("phone", "ideal"): (0.95, 0.9, 0.85),
        ("watch", "none"): (0.3, 0.4, 1.0),
    }
    models = [
        scored_model(dict(zip(DEVICES, row, strict=True)), *kind, "-".join(kind), replicates, classes)
        for kind, row in scores.items()
    ]
    ungapped = [table_row([model], model.method) for model in models]
    rows = [with_gap_closed(row, ungapped[0], ungapped[1]) for row in ungapped]
    found = DeviceComparison(PairedDifference(0.4, Interval(-0.1, 0.5), 0.04), McNemar(5, 1, 0.21))
    content = {
        "devices": DEVICES,
        "rows": rows,
        "models": models,
        "matrices": source_matrices(rows, DEVICES),
        "comparisons": [Comparison("ideal", "none", {"tablet": found}, found)],
        "settings": {"split": "val-sec", "devices": {device: {"labels": list(classes)} for device in DEVICES}},
        "training": {model.name: {"sha256": "abc", "training": {}} for model in models},
        "spectrograms": [SpectrogramRows("phone", "Recording 3.", [Picture("Converted", PNG, 900)], ["No watch."])],
        "pictures": [Picture("My room", PNG)],
        "warnings": ["mind the gap"],
    }
    return ResultsPage(**content | changes)  # type: ignore[arg-type]


class _Tags(HTMLParser):
    """Notes every tag with its attributes, and that all are closed in order."""

    VOID = frozenset({"meta", "link", "img"})

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(html: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(html)
    assert parser.open == []
    return parser.seen


def test_page_is_well_formed_and_holds_every_score() -> None:
    html = render_results_page(page())
    assert len([tag for tag, _ in tags(html) if tag == "svg"]) == (1 + 3) * len(DEVICES)
    for shown in ("0.300 ± ", "0.875", "0.405 to 0.595", "ideal minus none", "mind the gap", "+0.400", "My room"):
        assert shown in html


def test_spectrograms_stand_with_their_event_and_what_they_lack() -> None:
    html = render_results_page(page())
    section = html[html.index('id="spectrograms"') : html.index("My room")]
    assert [text for text in ("From phone", "Recording 3.", "Converted", "No watch.") if text not in section] == []
    assert 'width="900"' in section
    assert "Spectrograms</h2>" not in render_results_page(page(spectrograms=[]))


def test_page_loads_nothing_and_runs_its_own_script_only() -> None:
    html = render_results_page(page())
    for tag, attributes in tags(html):
        assert tag not in ("iframe", "object", "embed", "form")
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:")
    assert "http:" not in html
    assert "https:" not in html
    (script,) = re.findall(r"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in html


@pytest.mark.parametrize("where", ["label", "device", "method", "warning", "caption", "event", "setting", "comparison"])
def test_no_name_becomes_markup(where: str) -> None:
    plain = [tag for tag, _ in tags(render_results_page(page()))]
    model = scored_model({NASTY: 0.5}, NASTY, NASTY, NASTY)
    changes = {
        "device": {"devices": [NASTY], "rows": [table_row([model], "none")], "models": [model], "matrices": []},
        "method": {"rows": [table_row([model], NASTY)], "models": [model], "matrices": []},
        "warning": {"warnings": [NASTY]},
        "caption": {"pictures": [Picture(NASTY, PNG)]},
        "event": {"spectrograms": [SpectrogramRows(NASTY, NASTY, [Picture(NASTY, PNG, 9)], [NASTY])]},
        "setting": {"settings": {NASTY: NASTY}, "training": {NASTY: {NASTY: NASTY}}},
        "comparison": {"comparisons": [Comparison(NASTY, NASTY, {}, None)]},
    }
    html = render_results_page(page(label=NASTY) if where == "label" else page(**changes[where]))
    assert NASTY not in html
    assert "&lt;script&gt;throw 1" in html or "\\u003c" in html
    found = [tag for tag, _ in tags(html)]
    assert found.count("script") == plain.count("script") == 1


def test_settings_are_json_that_can_be_read_again() -> None:
    html = render_results_page(page())
    (block,) = re.findall(r"checksums</summary><pre>(.*?)</pre>", html, re.DOTALL)
    assert json.loads(block.replace("&#34;", '"')) == page().settings


def test_a_picture_must_be_a_png() -> None:
    scan = [Picture("scan", b"GIF89a", 9)]
    for changes in ({"pictures": scan}, {"spectrograms": [SpectrogramRows("phone", "", scan, [])]}):
        with pytest.raises(ValueError, match="'scan' is not a PNG"):
            render_results_page(page(**changes))


def test_a_name_with_bytes_that_are_not_utf_8_can_be_shown() -> None:
    assert "\\udcff" in render_results_page(page(warnings=["caf\udcff"]))


def test_nothing_but_one_model_on_its_source_makes_a_page() -> None:
    model = scored_model({"phone": 0.5}, "phone")
    rows = [table_row([model], "none")]
    html = render_results_page(ResultsPage(devices=["phone"], rows=rows, models=[model]))
    assert "1 row, 1 model, 1 device" in html
    tags(html)


def test_csv_has_a_line_for_each_model_and_device() -> None:
    lines = scores_csv([scored_model({"phone": 0.5, "a,b": 0.25}, "phone", replicates={"phone": [0.1, 0.1]})])
    assert lines.splitlines()[1:] == [
        "run,phone,none,phone,1,20,0.500000,0.100000,0.100000,0.400000,0.600000",
        'run,phone,none,"a,b",0,20,0.250000,,,0.150000,0.350000',
    ]


def test_markdown_escapes_names_and_keeps_numbers_readable() -> None:
    content = page(devices=["a|b", "*c*"])
    rows = [table_row([scored_model({"a|b": 0.5, "*c*": 0.25}, "*c*")], "none")]
    text = scores_markdown(content.devices, rows, [], [])
    assert "| a\\|b | \\*c\\* |" in text
    assert text.splitlines()[-1] == "| \\*c\\* | none | 0.500 | - | 0.375 ± 1.123 | - | a\\|b | 0.500 | 0.250 |"


# In a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium")

REPORT = """
const table = document.getElementById("table-models");
const column = (number) => [...table.tBodies[0].rows].map((row) => row.cells[number].textContent.trim());
const seen = { before: column(2) };
const heads = table.tHead.rows[0].cells;
const click = (number) => { heads[number].querySelector("button").click(); return column(number); };
seen.falling = click(2);
seen.sort = heads[2].getAttribute("aria-sort");
seen.rising = click(2);
seen.names = click(1);
seen.gaps = click(5);
seen["gaps up"] = click(5);
seen.other = heads[2].getAttribute("aria-sort");
seen.overflow = document.documentElement.scrollWidth - window.innerWidth;
seen.bars = document.querySelectorAll("svg.bars rect").length;
seen.drawn = [...document.querySelectorAll("svg, table, img")].every((each) => {
  return each.closest("details:not([open])") || each.getBoundingClientRect().width > 0;
});
document.body.textContent = JSON.stringify(seen);
"""


def with_script(html: str, script: str) -> str:
    """Return the page with a further script that its policy allows."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    allowed = html.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    return allowed.replace("</body>", f"<script>{script}</script></body>")


def browse(folder: Path, html: str, *options: str) -> tuple[str, list[str]]:
    """Open a page; return standard output, and what the browser wrote on its console."""
    assert CHROMIUM
    file = folder / "page.html"
    file.write_text(html, encoding="utf-8")
    command = [
        CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--enable-logging=stderr", f"--user-data-dir={folder / 'profile'}",
        *options, file.as_uri(),
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(folder)})
    assert run.returncode == 0, run.stderr
    return run.stdout, [line for line in run.stderr.splitlines() if ":CONSOLE" in line]


@in_browser
@pytest.mark.parametrize("width", [500, 1200])
def test_page_in_a_browser_draws_sorts_and_complains_of_nothing(tmp_path: Path, width: int) -> None:
    html = with_script(render_results_page(page(label=NASTY)), REPORT)
    shown, console = browse(tmp_path, html, f"--window-size={width},900", "--dump-dom")
    assert console == []
    seen = json.loads(re.findall(r"<body>(.*?)</body>", shown, re.DOTALL)[0].replace("&amp;", "&"))
    numbers = [[float(cell.split(" ")[0]) for cell in seen[name]] for name in ("before", "falling", "rising")]
    assert numbers[0] == [0.3, 0.875, 0.35]
    assert numbers[1] == [0.875, 0.35, 0.3]
    assert numbers[2] == [0.3, 0.35, 0.875]
    assert seen["sort"] == "descending"
    assert seen["other"] is None
    assert seen["names"] == ["ideal", "none", "none"]
    assert seen["gaps"] == ["100.0", "0.0", "-"]  # what is not known stays at the end
    assert seen["gaps up"] == ["0.0", "100.0", "-"]
    assert seen["overflow"] <= 0
    assert seen["bars"] == 9
    assert seen["drawn"]


@in_browser
def test_the_browser_would_tell_of_errors(tmp_path: Path) -> None:
    html = render_results_page(page())
    _, failed = browse(tmp_path, with_script(html, "nothing.at.all()"), "--dump-dom")
    assert any("ReferenceError" in line for line in failed)
    _, refused = browse(tmp_path, html.replace("</body>", "<script>void 0</script></body>"), "--dump-dom")
    assert any("Content Security Policy" in line for line in refused)


@in_browser
def test_page_prints_on_few_sheets(tmp_path: Path) -> None:
    target = tmp_path / "page.pdf"
    _, console = browse(tmp_path, render_results_page(page()), "--no-pdf-header-footer", f"--print-to-pdf={target}")
    assert console == []
    content = target.read_bytes()
    assert content.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 5

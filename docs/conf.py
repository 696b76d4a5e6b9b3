"""Sphinx: these pages and the README as a site, with `sphinx-build -W -c docs . build/site` at the project's root."""

from sphinx.application import Sphinx

project = "umc"
author = "the umc authors"
html_title = "umc"
html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_show_copyright = False
html_copy_source = False
html_show_sourcelink = False

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "README"
include_patterns = ["README.md", "docs/**.md"]
myst_heading_anchors = 4

# The order of the pages in the navigation. A page that is missing here is a warning, hence an error in CI.
NAVIGATION = {
    "Start": ["index", "start", "installing", "troubleshooting"],
    "How to": [
        "measuring-a-phone",
        "two-phones-side-by-side",
        "python",
        "waveforms",
        "scaling",
        "clusters",
        "pipelines",
        "security",
        "extending",
    ],
    "Understand": [
        "method",
        "data-flow",
        "results",
        "shipped-refiner",
        "shipped-film-gan",
        "conversion-metrics",
        "synthetic-differences",
        "devices-library",
        "glossary",
    ],
    "Commands": [
        "commands/convert",
        "commands/train",
        "commands/train-sec",
        "commands/eval",
        "commands/measure-ir",
        "commands/pair",
        "commands/synth-fr",
        "commands/simulate",
        "commands/devices",
        "commands/shards",
        "commands/demo",
        "commands/init",
    ],
    "Reference": ["file-formats", "changelog", "decisions"],
}


def add_navigation(_app: Sphinx, page: str, source: list[str]) -> None:
    """Append the table of contents to the pages that hold others: the sources stay plain Markdown."""
    if page == root_doc:
        for caption, pages in NAVIGATION.items():
            source[0] += _toctree(caption, [f"docs/{name}" for name in pages])
    elif page == "docs/decisions":
        source[0] += _toctree("Topics", ["decisions/*"])


def setup(app: Sphinx) -> None:
    """Register what is not an extension."""
    app.connect("source-read", add_navigation)


def _toctree(caption: str, pages: list[str]) -> str:
    entries = "\n".join(pages)
    return f"\n\n```{{toctree}}\n:caption: {caption}\n:hidden:\n:glob:\n\n{entries}\n```\n"

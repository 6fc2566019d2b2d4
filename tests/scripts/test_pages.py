"""The documentation is complete, and its snippets and examples run."""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import runpy
import shlex
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import keras
import pytest
import shape_transformer
from matplotlib.figure import Figure

import tfviz
from tfviz.cli.main import _parse
from tfviz.shapes import SAMPLES_DIR

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.glob("*.md"))
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*/*.py"))
# Written when the site is built.
BUILT = {"tutorials/index", "gallery/methods/index", "gallery/models/index", "gallery/jobs/index", "api/index"}
# Pages whose Python blocks run in order, in one namespace.
RUN = ("start", "choose", "migrate", "troubleshooting", "metrics", "evaluate", "transformers")

quiet = pytest.mark.filterwarnings("ignore")


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the kind and the text of a page's code blocks, also of those in lists."""
    found = re.findall(r"^( *)```(\w+)\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [(kind, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE)) for indent, kind, text in found]


def toctree_entries() -> list[str]:
    text = "\n".join(page.read_text("utf-8") for page in PAGES)
    trees = re.findall(r"^```{toctree}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [line for tree in trees for line in tree.splitlines() if line and not line.startswith(":")]


# --- completeness ---------------------------------------------------------------------------------


def test_every_page_is_in_a_table_of_contents() -> None:
    assert {page.stem for page in PAGES} - set(toctree_entries()) == {"index"}


def test_every_entry_leads_to_a_page() -> None:
    assert {entry for entry in toctree_entries() if not (DOCS / f"{entry}.md").is_file()} == BUILT


def test_the_links_of_the_cards_have_the_cards_titles() -> None:
    cards = re.findall(r"^:::{grid-item-card} (.+)\n((?::.+\n)+)", (DOCS / "index.md").read_text("utf-8"), re.MULTILINE)
    assert len(cards) == 6
    for title, text in cards:
        options = dict(re.findall(r"^:([\w-]+): (.+)$", text, re.MULTILINE))
        page = DOCS / f"{options['link']}.md"
        # Without link-alt, the name of a link is the title of its page.
        name = page.read_text("utf-8").splitlines()[0].removeprefix("# ") if page.is_file() else "Tutorials"
        assert options.get("link-alt", name) == title


def test_every_group_of_examples_has_a_header_and_is_built() -> None:
    configuration = (DOCS / "conf.py").read_text("utf-8")
    for folder in {path.parent for path in EXAMPLES}:
        assert (folder / "GALLERY_HEADER.rst").is_file()
        assert f'"../examples/{folder.name}"' in configuration


@pytest.fixture
def extensions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_extensions"))


def test_every_method_has_an_example(extensions: None, tmp_path: Path) -> None:
    from method_examples import write_method_examples

    (tmp_path / "gone.py").write_text("")
    write_method_examples(DOCS / "methods.md", tmp_path)
    assert {path.stem for path in tmp_path.glob("*.py")} == set(tfviz.METHODS)
    for path in tmp_path.glob("*.py"):
        compile(path.read_text("utf-8"), path.name, "exec")


def test_every_public_name_is_in_the_reference(extensions: None) -> None:
    from reference_page import grouped

    names = [name for group in grouped().values() for name in group]
    assert sorted(names) == sorted(set(tfviz.__all__) - {"__version__"})


def test_formulas_of_docstrings_are_no_markup(extensions: None) -> None:
    pytest.importorskip("sphinx", reason="pip install '.[docs]'")
    from docstring_markup import escaped

    assert escaped("Σ p(x ⊙ H_k)|S|, a * b, `a * b`") == r"Σ p(x ⊙ H_k)\|S\|, a \* b, `a * b`"
    assert escaped("    **options: the options") == "    **options: the options"


def test_notebooks_name_files_instead_of_roles(extensions: None) -> None:
    pytest.importorskip("sphinx_gallery", reason="pip install '.[docs]'")
    from notebook_text import without_roles

    text = ":doc:`/metrics`, :doc:`/tutorials/evaluate`, :doc:`evaluate` and :class:`tfviz.RISE`"
    wanted = "`docs/metrics.md`, `examples/tutorials/evaluate.py`, `examples/tutorials/evaluate.py` and `tfviz.RISE`"
    assert without_roles(text) == wanted
    named = [
        found for path in EXAMPLES for found in re.findall(r"`([\w/]+\.(?:py|md))`", without_roles(path.read_text("utf-8")))
    ]
    assert len(named) >= 8
    assert all((DOCS.parent / name).is_file() for name in named if "/" in name)


def test_a_chart_is_described_as_a_chart(extensions: None, tmp_path: Path) -> None:
    pytest.importorskip("sphinx_gallery", reason="pip install '.[docs]'")
    from figures import scrape

    chart, maps = Figure(), Figure()
    chart.subplots().plot([1, 2])
    maps.subplots().imshow([[1, 2]])
    for figure, text in ((chart, "Chart: evaluate"), (maps, "Images beside their maps: evaluate")):
        names = {"example_globals": {"figure": figure}, "image_path_iterator": iter([str(tmp_path / "1.png")])}
        found = scrape(("code", "figure = ", 1), names | {"src_file": "evaluate.py"}, {"src_dir": str(tmp_path)})
        assert f":alt: {text}\n" in found


def test_search_ranks_equal_results_with_troubleshooting_first_and_the_changelog_last(browser: Any) -> None:
    assert 'html_search_scorer = str(DOCS / "search_scorer.js")' in (DOCS / "conf.py").read_text("utf-8")
    scorer = (DOCS / "search_scorer.js").read_text("utf-8")
    pages = ["changes", "start", "troubleshooting"]
    page = browser.new_page()
    script = f"(pages) => {{ {scorer} return pages.map((one) => Scorer.score([one, '', '', null, 15])); }}"
    scores = page.evaluate(script, pages)
    page.close()
    assert scores == [5, 15, 16]


# --- snippets and examples ------------------------------------------------------------------------


@quiet
@pytest.mark.parametrize("name", RUN)
def test_the_snippets_of_a_page_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(SAMPLES_DIR, tmp_path / "tfviz" / "shapes" / "samples")
    names: dict[str, Any] = {"__name__": name, "tfviz": tfviz}
    model = tfviz.load_model("shapes")
    names |= {"model": model, "images": tfviz.load_images(SAMPLES_DIR, model)}
    found = blocks(DOCS / f"{name}.md")
    for (kind, text), (next_kind, following) in itertools.pairwise([*found, ("", "")]):
        if kind == "python":
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(compile(text, f"{name}.md", "exec"), names)
            assert next_kind != "text" or not printed.getvalue() or printed.getvalue() == following


def capped(fit: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *args, **options: fit(*args, **(options | {"epochs": 1}))


@quiet
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training is cut short: what the examples say about trained networks is seen on the site."""
    monkeypatch.setattr(shape_transformer, "trained_transformer", partial(shape_transformer.trained_transformer, scenes=16))
    monkeypatch.setattr(keras.Model, "fit", capped(keras.Model.fit))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(path))
    assert any(name.endswith("figure") for name in names)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_a_downloaded_notebook_displays_the_figures(path: Path) -> None:
    """A notebook displays pyplot's figures, and a figure in the last line of a cell."""
    for cell in path.read_text("utf-8").split("\n# %%\n"):
        for name, maker in re.findall(r"^(?:    )?(\w*figure) = ([\w.]+)", cell, re.MULTILINE):
            assert maker == "plt.figure" or cell.rstrip().endswith(f"\n{name}")


VARIABLE = re.compile(r"\$\(\(.*?\)\)|\$\w+")
COMMANDS = [
    shlex.split(VARIABLE.sub("1", line.split("  #")[0]))[1:]
    for page in PAGES
    for kind, text in blocks(page)
    if kind in ("console", "bash")
    for line in text.replace("\\\n", " ").splitlines()
    if line.startswith("tfviz ")
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_a_command_line_is_valid(arguments: list[str]) -> None:
    """The arguments are accepted. Running the commands is the business of other tests."""
    assert _parse(arguments).command == arguments[0]

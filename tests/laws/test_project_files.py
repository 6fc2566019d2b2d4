"""The files that services read are well formed and agree with the package."""

from __future__ import annotations

import configparser
from pathlib import Path

import pytest

import tfviz

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))
FIELDS = {"textarea", "input", "dropdown", "checkboxes", "markdown"}


def read(*parts: str) -> dict:
    return yaml.safe_load(ROOT.joinpath(*parts).read_text(encoding="utf-8"))


def test_the_workflow_runs_what_is_run_here() -> None:
    jobs = read(".github", "workflows", "tests.yml")["jobs"]
    assert jobs["linux"]["strategy"]["matrix"]["python"] == ["3.10", "3.11", "3.12", "3.13"]
    assert set(jobs["installed"]["strategy"]["matrix"]["system"]) == {"windows-latest", "macos-latest"}
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    assert {"scripts/test", "scripts/test --oldest"} <= set(commands)
    folders = [word for command in commands for word in command.split() if word.startswith("tests/")]
    assert folders and all((ROOT / folder).is_dir() for folder in folders)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_an_issue_template_is_a_form(path: Path) -> None:
    form = read(".github", "ISSUE_TEMPLATE", path.name)
    if path.stem == "config":
        assert form == {"blank_issues_enabled": True}
        return
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["type"] in FIELDS and field["attributes"]["label"] for field in form["body"])


def test_the_citation_is_of_this_version() -> None:
    citation = read("CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["version"] == tfviz.__version__
    assert f"\n## {tfviz.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_hooks_take_the_packages_of_the_test_extra() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extra = config["options.extras_require"]["test"].split()
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == ["ruff", "ruff-format", "codespell"]
    assert all(set(hook["additional_dependencies"]) <= set(extra) for hook in repository["hooks"])

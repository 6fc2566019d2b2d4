"""Help texts fit a terminal of 100 columns and state every default."""

from __future__ import annotations

import argparse

import pytest

from tfviz.cli import main as cli

COLUMNS = 100
(COMMANDS,) = [one.choices for one in cli._parser()._actions if isinstance(one, argparse._SubParsersAction)]
OPTIONS = [
    pytest.param(option, id=f"{command} {option.option_strings[-1]}")
    for command, parser in COMMANDS.items()
    for option in parser._actions
    if option.option_strings and not option.required and option.nargs != 0
]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_the_terminal(command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    assert cli.main([*command.split(), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines and not [line for line in lines if len(line) > COLUMNS]


@pytest.mark.parametrize("option", OPTIONS)
def test_help_states_the_default(option: argparse.Action) -> None:
    assert "default" in (option.help or "")

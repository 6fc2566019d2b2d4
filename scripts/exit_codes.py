"""Exit codes of the scripts. An expected error is one line on stderr, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from interpreter import require_packages

from tfviz.cli.terminal import import_tensorflow
from tfviz.errors import TfvizError

SOME_FAILED, WRONG_USAGE, STOPPED = 1, 2, 130  # 130 is 128 + SIGINT, as shells have it


def exit_code(script: str, main: Callable[[], list[TfvizError]]) -> int:
    """Runs a script's work and returns the exit code: 0, or 1 if `main` returns errors about some
    of the images.

    A TfvizError becomes one line on stderr and exit code 2; Ctrl-C gives 130. Any other exception
    keeps its traceback.
    """
    require_packages()
    import_tensorflow()  # without what it prints about the machine
    try:
        failures = main()
    except TfvizError as error:
        _say(script, error)
        return WRONG_USAGE
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return STOPPED
    for failure in failures:
        _say(script, failure)
    return SOME_FAILED if failures else 0


def _say(script: str, error: TfvizError) -> None:
    print(f"{script}: error: {' '.join(line.strip() for line in str(error).splitlines())}", file=sys.stderr)

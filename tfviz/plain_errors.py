"""Scripts that say in one line what is wrong, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from tfviz.cli.quiet import import_tensorflow
from tfviz.errors import TfvizError

SOME_FAILED, WRONG_USAGE, STOPPED = 1, 2, 130  # 130 is 128 + SIGINT, as shells have it


def run_plainly(script: str, main: Callable[[], list[TfvizError]]) -> int:
    """Runs a script's work and returns the exit code: 0; 1 where `main` returns errors about some of the pictures.

    What tfviz raises on purpose becomes one line on stderr, and 2; Ctrl-C gives 130. Anything else keeps its traceback.
    """
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

"""Exit codes for scripts. An expected error prints one line on stderr without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from interpreter import require_packages

from tfviz.cli.terminal import import_tensorflow
from tfviz.errors import TfvizError

SOME_FAILED, WRONG_USAGE, STOPPED = 1, 2, 130  # 130 is 128 + SIGINT, as in shells


def exit_code(script: str, main: Callable[[], list[TfvizError]]) -> int:
    """Run a script and return its exit code.

    A TfvizError prints one line on stderr. Any other exception keeps its traceback.

    Args:
        script: the script's name, for messages.
        main: the function to run. It returns the errors for images that could not be explained.

    Returns:
        0 for success, 1 if `main` returns errors, 2 for a TfvizError and 130 for Ctrl-C.
    """
    require_packages()
    import_tensorflow()  # suppresses TensorFlow's log messages
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

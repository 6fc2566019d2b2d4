"""Scripts that say in one line what is wrong, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tfviz.errors import TfvizError

WRONG_USAGE = 2
STOPPED = 130  # 128 + SIGINT, as shells have it


@contextmanager
def plain_errors() -> Iterator[None]:
    """What tfviz raises on purpose becomes one line on stderr and exit code 2; Ctrl-C ends with 130."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        yield
    except TfvizError as error:
        line = " ".join(part.strip() for part in str(error).splitlines())
        print(f"{Path(sys.argv[0]).name}: error: {line}", file=sys.stderr)
        raise SystemExit(WRONG_USAGE) from None
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        raise SystemExit(STOPPED) from None

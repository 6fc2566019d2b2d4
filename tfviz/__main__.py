"""Run the `tfviz` command for `python -m tfviz`."""

import sys

from tfviz.cli.main import main

sys.exit(main())

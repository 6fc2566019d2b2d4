"""`python -m tfviz` is `tfviz`."""

import sys

from tfviz.cli.main import main

sys.exit(main())

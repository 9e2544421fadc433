"""`python -m qbjax`."""

import sys

from qbjax.cli import main

sys.exit(main())

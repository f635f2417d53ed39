"""`python -m bpcore` is `bpcore`."""

import sys

from bpcore.cli import main

sys.exit(main())

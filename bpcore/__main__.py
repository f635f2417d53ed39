"""`python -m bpcore` is `bpcore`."""

import sys

from bpcore.cli.app import main

sys.exit(main())

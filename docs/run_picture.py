"""Draw docs/run.svg: what `bpcore train` prints on this machine, as a terminal shows it.

python docs/run_picture.py [arguments of bpcore train]
"""

import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console


def main() -> None:
    """Run the command, and draw its output."""
    arguments = ["train", *sys.argv[1:]]
    run = subprocess.run([sys.executable, "-m", "bpcore", *arguments], capture_output=True, text=True, check=True)
    console = Console(record=True, width=92, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(f"$ bpcore {' '.join(arguments)}\n{run.stdout.rstrip()}", markup=False, highlight=False)
    path = Path(__file__).with_name("run.svg")
    drawing = console.export_svg(title="bpcore train")
    # Without the web fonts that rich names: a picture asks for nothing from the network.
    path.write_text(re.sub(r"@font-face\s*{.*?}", "", drawing, flags=re.DOTALL), encoding="utf-8")
    print(f"wrote {path}")


if __name__ == "__main__":
    main()

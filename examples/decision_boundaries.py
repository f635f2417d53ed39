"""How hidden units and L2 shape the decision boundary: three sizes by three strengths on two noisy spirals.

    python examples/decision_boundaries.py [--picture FILE]

Two interleaved arms in the plane, one class each, so noisy that they overlap: 200 training samples, and 2,000 test
samples of the same kind. Each network has one hidden layer of tanh units. Test (and training) accuracy on a CPU:

    hidden units        without L2         L2 0.0003          L2 0.003
               3     88.2 (93.0) %     87.7 (94.0) %     83.8 (85.0) %
               6     86.8 (93.5) %     87.7 (94.0) %     83.9 (85.5) %
              20     85.4 (94.5) %     87.5 (94.0) %     83.9 (85.5) %

Without L2, more units fit more of the noise, down to small islands; a little L2 makes 20 units as smooth as 6; too much
leaves a straight line. The picture (.png, .svg or .pdf; it needs `pip install "bpcore[plot]"`) shows the nine
boundaries.
"""

import math
from pathlib import Path

import numpy as np

from bpcore import Adam, Dense, Network, plots
from bpcore.cli.program import run
from bpcore.plots.style import check_picture

HIDDEN = (3, 6, 20)
L2 = (0.0, 0.0003, 0.003)


def spirals(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (samples, 2) on two noisy spiral arms, and the arm of each (samples,)."""
    rng = np.random.default_rng(seed)
    arm = np.arange(samples) % 2
    radius = np.sqrt(rng.uniform(0.04, 1.0, samples))
    angle = 1.6 * math.pi * radius + math.pi * arm
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return points + rng.normal(0.0, 0.25, (samples, 2)), arm


def main(picture: str | None = None, epochs: int = 800) -> np.ndarray:
    """Train nine networks, print their accuracies, plot their boundaries, and return the test accuracies (3, 3)."""
    if picture is not None:
        check_picture(Path(picture))
    x, y = spirals(200, seed=0)
    new_x, new_y = spirals(2000, seed=1)
    networks = [[Network([Dense(hidden, "tanh"), Dense(2)], seed=1) for _ in L2] for hidden in HIDDEN]
    accuracies = np.empty((len(HIDDEN), len(L2)))
    names = [f"L2 {l2:g}" if l2 else "without L2" for l2 in L2]
    print("hidden units" + "".join(f"{name:>18}" for name in names))
    for row, hidden in enumerate(HIDDEN):
        line = f"{hidden:>12}"
        for column, l2 in enumerate(L2):
            network = networks[row][column]
            network.fit(x, y, optimizer=Adam(learning_rate=0.03, l2=l2), epochs=epochs, batch_size=32)
            learned, accuracies[row, column] = (network.evaluate(*part).accuracy for part in ((x, y), (new_x, new_y)))
            line += f"{100 * accuracies[row, column]:>9.1f} ({100 * learned:.1f}) %"
        print(line)
    if picture is not None:
        rows = [f"{hidden} hidden units" for hidden in HIDDEN]
        plots.decision_boundaries(networks, x, y, rows=rows, columns=names).savefig(picture)
    return accuracies


if __name__ == "__main__":
    run(main)

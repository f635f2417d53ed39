"""Why deep networks did not learn, and what helps: sigmoid, ReLU and residual blocks of growing depth on MNIST.

    python examples/vanishing_gradients.py [--depths 8,19,101,152] [--picture FILE]

Depth counts the layers with weights, of 64 units each except the last; Adam, batches of 128. Test error after one epoch
on a CPU, and the gradient norms of the first and the last hidden layer before the first step:

    depth   sigmoid                       ReLU                          residual blocks, ReLU
        8   52.27 %  8.0e-05, 2.7e-01      5.43 %  1.1e+00, 4.4e-01     4.29 %  1.1e+00, 5.0e-01
       19   88.65 %  1.2e-11, 1.9e-01      7.49 %  3.8e-01, 1.2e-01     4.13 %  1.2e+00, 5.1e-01
      101   88.65 %  0.0e+00, 2.5e-01     45.13 %  9.8e-02, 5.5e-02     4.46 %  1.2e+00, 4.1e-01
      152   88.65 %  0.0e+00, 2.0e-01     88.65 %  1.5e-01, 5.4e-02     4.54 %  9.9e-01, 4.0e-01

88.65 % is chance. The sigmoid's derivative is at most 1/4, so the gradient shrinks in each layer on its way back. The
derivative of an active ReLU is 1, but over 152 layers too few units stay active, and the rest die. A residual block
x + F(x) passes the gradient on unchanged. The diagnostics print these findings. The picture shows the gradient by layer
in the deepest sigmoid network; it needs `pip install "bpcore[plot]"`.
"""

from __future__ import annotations

from pathlib import Path

from bpcore import Adam, Dense, Diagnostics, Layer, Network, Residual, load_dataset, plots
from bpcore.cli.program import run
from bpcore.errors import InputError
from bpcore.plots.style import check_picture

UNITS, CLASSES = 64, 10
KINDS = ("sigmoid", "relu", "residual")


def layers(kind: str, depth: int) -> list[Layer]:
    """The layers of a network with `depth` layers of weights. A residual block x + F(x) has two, and starts as x."""
    if kind != "residual":
        return [*(Dense(UNITS, kind) for _ in range(depth - 1)), Dense(CLASSES)]
    first = [Dense(UNITS, "relu") for _ in range(1 + depth % 2)]
    blocks = [Residual([Dense(UNITS, "relu"), Dense(UNITS, initializer="zeros")]) for _ in range((depth - 2) // 2)]
    return [*first, *blocks, Dense(CLASSES)]


def chosen_depths(text: str) -> list[int]:
    """Parse depths such as "8,19"; with fewer than three layers there are no two hidden layers to compare."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) >= 3 for part in parts):
        raise InputError(f"depths {text!r} cannot be used; accepted: integers of 3 or more, such as 8,19")
    return [int(part) for part in parts]


def main(
    depths: str = "8,19,101,152", epochs: int = 1, data: str = "mnist", picture: str | None = None
) -> dict[tuple[str, int], float]:
    """Train each kind at each depth, print the diagnostics' warnings, and return the test errors by kind and depth."""
    if picture is not None:
        check_picture(Path(picture))
    depths_to_train = chosen_depths(depths)
    images = load_dataset(data)
    errors, diagnostics = {}, {}
    print(f"{'depth':>5}  {'kind':8}  {'test error':>10}  gradient norm, first and last hidden layer")
    for depth in depths_to_train:
        for kind in KINDS:
            watch = diagnostics[kind] = Diagnostics(notify=lambda line: None)
            network = Network(layers(kind, depth), seed=0)
            optimizer = Adam(learning_rate=0.001)
            network.fit(
                images.x_train, images.y_train, optimizer=optimizer, epochs=epochs, batch_size=128, callbacks=[watch]
            )
            errors[kind, depth] = 1 - network.evaluate(images.x_test, images.y_test).accuracy
            first, *_, last, _ = watch.samples[0].layers
            norms = f"{first.gradient_norm:.1e}, {last.gradient_norm:.1e}"
            print(f"{depth:>5}  {kind:8}  {100 * errors[kind, depth]:>8.2f} %  {norms}")
            for line in watch.warnings:
                print(f"       {line}")
    if picture is not None:
        plots.gradient_profile(diagnostics["sigmoid"].samples).savefig(picture)
    return errors


if __name__ == "__main__":
    run(main)

"""Why deep networks would not learn, and what lets them: sigmoid, ReLU and residual blocks of growing depth on MNIST.

    python examples/vanishing_gradients.py [--data DIR] [--depths 8,19,101,152] [--epochs 1] [--picture FILE]

Depth counts the layers with weights, all of 64 units but the last. Adam, batches of 128. Shown are the error on the
test set, and the norm of the gradient in the lowest and in the highest hidden layer before the first step.

NUMBERS
"""

import argparse

from bpcore import Adam, Dense, Diagnostics, Layer, Network, Residual, load_dataset, plots

UNITS, CLASSES = 64, 10
KINDS = ("sigmoid", "relu", "residual")


def layers(kind: str, depth: int) -> list[Layer]:
    """So many layers with weights. A residual block has two of them, x + F(x), and begins as x."""
    if kind != "residual":
        return [*(Dense(UNITS, kind) for _ in range(depth - 1)), Dense(CLASSES)]
    first = [Dense(UNITS, "relu") for _ in range(1 + depth % 2)]
    blocks = [Residual([Dense(UNITS, "relu"), Dense(UNITS, initializer="zeros")]) for _ in range((depth - 2) // 2)]
    return [*first, *blocks, Dense(CLASSES)]


def main(
    folder: str | None = None,
    depths: tuple[int, ...] = (8, 19, 101, 152),
    epochs: int = 1,
    picture: str | None = None,
    samples: int | None = None,
) -> dict[tuple[str, int], float]:
    """Train each kind at each depth, say what the diagnostics say, and return the test errors."""
    data = load_dataset("mnist", data_dir=folder)
    x, y = data.x_train[:samples], data.y_train[:samples]
    errors, deepest = {}, {}
    print(f"{'depth':>5}  {'kind':8}  {'test error':>10}  gradient norm, lowest and highest hidden layer")
    for depth in depths:
        for kind in KINDS:
            watch = Diagnostics(notify=lambda line: None)
            network = Network(layers(kind, depth), seed=0)
            network.fit(x, y, optimizer=Adam(learning_rate=0.001), epochs=epochs, batch_size=128, callbacks=[watch])
            errors[kind, depth] = 1 - network.evaluate(data.x_test, data.y_test).accuracy
            lowest, *_, highest, _ = watch.samples[0].layers
            norms = f"{lowest.gradient_norm:.1e}, {highest.gradient_norm:.1e}"
            print(f"{depth:>5}  {kind:8}  {100 * errors[kind, depth]:>8.2f} %  {norms}", flush=True)
            print(*(f"       {line}" for line in watch.warnings), sep="\n", end="\n" * bool(watch.warnings))
            deepest[kind] = watch
    if picture is not None:
        plots.gradient_norms(deepest["sigmoid"].samples).savefig(picture)
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--depths", default="8,19,101,152")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--picture")
    options = parser.parse_args()
    main(options.data, tuple(map(int, options.depths.split(","))), options.epochs, options.picture)

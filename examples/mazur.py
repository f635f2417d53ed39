"""M. Mazur's step-by-step example of backpropagation (2015), to the last digit.

    python examples/mazur.py

Two inputs, two hidden and two output units, sigmoid, 1/2 squared error, learning rate 0.5. With frozen biases, as in
the original, the loss is 0.29837111 before training, 0.29102777 after one step and 3.5101878e-05 after 10,000. (The
original's 0.291027924 is off by 1.5e-7.) If the biases learn too, it is 0.28047145 and 2.44756e-06.
"""

import numpy as np

from bpcore import SGD, Dense, Network, SquaredError
from bpcore.cli.program import run

X, TARGETS = np.array([[0.05, 0.10]]), np.array([[0.01, 0.99]])
START = {
    "0.W": np.array([[0.15, 0.25], [0.20, 0.30]]),  # w1 to w4: a column for each hidden unit
    "0.b": np.array([0.35, 0.35]),
    "1.W": np.array([[0.40, 0.50], [0.45, 0.55]]),  # w5 to w8
    "1.b": np.array([0.60, 0.60]),
}


def network(*, biases_learn: bool = False) -> Network:
    """The network with its initial parameters."""
    freeze = False if biases_learn else "bias"
    layers = [Dense(2, "sigmoid", freeze=freeze), Dense(2, "sigmoid", freeze=freeze)]
    created = Network(layers, inputs=2, precision="float64")
    created.set_parameters(START)
    created.loss = SquaredError()
    return created


def train(model: Network, steps: int) -> float:
    """Train for a number of steps on the one sample; return the loss after them."""
    model.fit(X, TARGETS, loss=SquaredError(), optimizer=SGD(learning_rate=0.5), epochs=steps)
    return model.evaluate(X, TARGETS).loss


def main() -> list[float]:
    """The losses before, after one step and after 10,000, first with frozen biases, then with biases that learn."""
    losses = []
    for biases_learn in (False, True):
        model = network(biases_learn=biases_learn)
        print("biases learn" if biases_learn else "biases frozen", "- output", model.output(X)[0])
        losses += [model.evaluate(X, TARGETS).loss, train(model, 1)]
        weights = model.parameters_by_name()
        print("weights after one step", weights["0.W"].T.ravel(), *weights["1.W"].T)
        losses.append(train(model, 9999))
        print("loss before, after one step, after 10,000:", *(f"{loss:.8g}" for loss in losses[-3:]))
    return losses


if __name__ == "__main__":
    run(main)

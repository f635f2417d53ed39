"""The two-layer network of Stanford's course CS231n, reproducing the losses that its assignments expect.

    python examples/cs231n_two_layer.py

Affine - ReLU - affine - softmax. With weights from linspace the loss is 3.4702243556, or 26.5948426952 with
1/2 sum W^2 added; the loss of the seeded toy network (4-10-3) with 0.05 sum W^2 is 1.30378789133.
"""

import numpy as np

import bpcore
from bpcore import Dense, Network, SoftmaxCrossEntropy
from bpcore.cli.program import run


def two_layers(inputs: int, hidden: int, classes: int) -> Network:
    """The network, in float64."""
    network = Network([Dense(hidden, "relu"), Dense(classes)], inputs=inputs, precision="float64")
    network.loss = SoftmaxCrossEntropy()
    return network


def squares(network: Network) -> float:
    """The sum of W^2 over the weights; biases are not regularised."""
    return sum(float((array**2).sum()) for name, array in network.parameters_by_name().items() if name.endswith("W"))


def main() -> tuple[float, float, float, bool]:
    """Compute the three losses and check the gradients; return the losses, and whether the check passed."""
    network = two_layers(5, 50, 7)
    network.set_parameters(
        {
            "0.W": np.linspace(-0.7, 0.3, 5 * 50).reshape(5, 50),
            "0.b": np.linspace(-0.1, 0.9, 50),
            "1.W": np.linspace(-0.3, 0.4, 50 * 7).reshape(50, 7),
            "1.b": np.linspace(-0.9, 0.1, 7),
        }
    )
    x, y = np.linspace(-5.5, 4.5, 15).reshape(5, 3).T, np.array([0, 5, 1])
    plain = network.evaluate(x, y).loss
    regularised = plain + 0.5 * squares(network)

    weights, data = np.random.RandomState(0), np.random.RandomState(1)
    toy = two_layers(4, 10, 3)
    toy.set_parameters({"0.W": 0.1 * weights.randn(4, 10), "1.W": 0.1 * weights.randn(10, 3)})
    toy_loss = toy.evaluate(10 * data.randn(5, 4), np.array([0, 1, 2, 2, 1])).loss + 0.05 * squares(toy)

    check = bpcore.gradcheck(network, x, y)
    print(f"{plain:.10f} and {regularised:.10f} with L2; toy {toy_loss:.11f}")
    print(check)
    return plain, regularised, toy_loss, check.ok


if __name__ == "__main__":
    run(main)

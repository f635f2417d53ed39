"""The parts of a network: layers, activations, initialisers, losses, parameters, the layer stack."""

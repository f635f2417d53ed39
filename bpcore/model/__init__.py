"""What a network is made of: layers, activations, initialisers, losses, parameters, the layer stack."""

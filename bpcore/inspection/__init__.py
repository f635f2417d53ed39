"""How a network is looked into: gradient checks, and diagnostics of its layers while it learns."""

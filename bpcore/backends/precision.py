"""The precisions that a network can compute in."""

from __future__ import annotations

PRECISIONS = {
    "float32": "the default: float32 throughout",
    "float64": "for gradient checks",
    "tf32": "float32, but products on a GPU's tensor cores keep 10 bits of each factor and sum in float32",
    "bfloat16": "on a GPU, float32 with 8 significant bits in values between layers and in factors of products",
}
"""The name of each precision, and what it means."""

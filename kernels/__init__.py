"""The ground floor: scalar tables, and the fused kernels that Numba builds from them for both devices."""

"""Tables of scalar functions, and the fused kernels that Numba builds from them for the CPU and the GPU."""

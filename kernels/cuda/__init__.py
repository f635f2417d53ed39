"""The fused kernels for the GPU, written for numba-cuda: the templates of kernels/cpu, with the same arguments.

A kernel runs as a grid of blocks of threads. Blocks are independent; the threads of one block share memory and can
wait for one another. Two rules hold throughout:

- **Always the same order.** Threads form partial sums, which are added up as a tree in shared memory. Atomic additions,
  whose order changes from run to run, are used only for integers, for which it does not matter. Grid and block depend
  only on the shapes of the arguments.
- **Every thread meets every barrier.** `sum_down`, `all_sum` and `all_max` (threads.py) wait for the whole block, so a
  thread without work of its own calls them with a zero.

A block has two dimensions, x along a row of a matrix (neighbours in memory) and y from row to row. plans.py describes
the ways to divide a matrix between threads; signatures.py says which kernel uses which.

LANES, and THREADS (the most threads of a block), are constants of a compiled kernel: `compiled` makes one kernel for
each LANES in use.

float32 kernels hold no float64 instructions, which run 64 times slower on a consumer GPU. Multiplication and addition
contract to one instruction as on the CPU; no other fast-math flag is set.
"""

from .environment import IN_SIMULATOR
from .launching import compiled, compiler_problem, launch
from .plans import PLANS

__all__ = ["IN_SIMULATOR", "PLANS", "compiled", "compiler_problem", "launch"]

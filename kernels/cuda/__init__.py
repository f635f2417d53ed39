"""The fused kernels for the GPU, written for numba-cuda: the templates of kernels/cpu, with the same arguments.

A kernel runs as a grid of blocks of threads. Blocks know nothing of each other; the threads of one block share memory
and can wait for one another. Two rules hold throughout:

- **Always the same order.** A sum is made of partial sums of threads, added up as a tree in shared memory. There are
  no atomic additions, whose order changes from run to run, except of integers, where no order changes the sum. Grid and
  block follow from the shapes of the arguments.
- **Every thread meets every barrier.** `sum_down`, `all_sum` and `all_max` (threads.py) wait for the whole block, so a
  thread without work of its own goes through them with a zero.

A block has two dimensions, x along a row of a matrix (neighbours in memory) and y from row to row. The templates
divide a matrix between the threads in four ways, and plans.py says which kernel uses which.

LANES, and THREADS (the most threads of a block), are constants of a compiled kernel: `compiled` keeps one kernel for
each LANES that is asked for.

float32 kernels hold no float64 instruction, of which a consumer GPU does 64 times fewer. Multiplication and addition
contract to one instruction as on the CPU; there is no other fast arithmetic.
"""

from .environment import IN_SIMULATOR
from .launching import compiled, compiler_problem, launch
from .plans import PLANS

__all__ = ["IN_SIMULATOR", "PLANS", "compiled", "compiler_problem", "launch"]

"""How a network learns: data, optimizers, schedules, the step and the loop, callbacks, evaluation."""

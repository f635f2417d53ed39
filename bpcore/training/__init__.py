"""How a network learns.

samples        checks a user's data
settings       how to train, and where to begin
step, loop     one training step, and the loop over steps and epochs: read these first
run            the run that the loop drives and that callbacks are given
callbacks, progress, bar, interrupts    what happens between the steps
optimizers, schedules, timetable        how the weights are updated, with which learning rate
batches, replay, passes                 mini-batches, recorded steps, one pass over a data set
evaluation, prediction                  passes that measure and that answer
buffers, placement, snapshots           what is on the device: buffers, data sets, copies of the weights
history, nonfinite                      what a run has measured, and where a loss is infinite or NaN
"""

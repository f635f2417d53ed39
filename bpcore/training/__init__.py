"""Trains, evaluates and applies a network.

samples        checks a user's data
settings       how to train, and from which state
step, loop     one training step, and the loop over steps and epochs: read these first
run            the run, which the loop drives and which callbacks receive
callbacks, progress, bar, interrupts    what happens between the steps
optimizers, schedules, timetable        how the weights are updated, and with which learning rate
batches, replay, passes                 mini-batches, recorded steps, one pass over a data set
evaluation, prediction                  passes that measure the loss and that predict
buffers, placement, snapshots           memory on the device: buffers, data sets, copies of the weights
history, nonfinite                      the measures of a run, and the search for an infinite or NaN loss
"""

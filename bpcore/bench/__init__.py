"""`bpcore bench`: the speed of training steps, compared with other frameworks and with the machine's limits.

Reading order: cells.py (what is measured), contenders/ (who is measured), worker.py (the process of one contender),
measure.py (turns and medians), roofline.py (the machine's limits), suite.py (the whole benchmark), report.py and
plot.py (the output).
"""

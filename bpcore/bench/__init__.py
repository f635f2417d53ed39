"""`bpcore bench`: how fast training steps are, beside other frameworks and beside what the machine could do.

Read it in this order: cells.py (what is measured), contenders/ (by whom), worker.py (the process of one contender),
measure.py (in turns, medians), roofline.py (what the machine could do), report.py and plot.py (what is shown).
"""

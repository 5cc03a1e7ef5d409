"""The episodes of `avg(CHANNEL, last N) > LIMIT` with `streak: S`, worked out in exact fractions, by nobody who knows
how Godwit does it.

    window_answers.py FILE CHANNEL LIMIT N S

prints a line for each episode: start / fired / resolved.
"""

import csv
import sys
from fractions import Fraction

path, channel, limit, window, streak = sys.argv[1:]
limit, window, streak = Fraction(limit), int(window), int(streak)

with open(path, newline="") as file:
    rows = list(csv.reader(file))
header, rows = [name.lower() for name in rows[0]], rows[1:]
# Rows of this recording have an unnamed number in front.
more = len(rows[0]) - len(header)
column = header.index(channel) + more

means = []
values = []
for row in rows:
    # The nearest binary number to what is written, then exact.
    values.append(Fraction(float(row[column])))
    if len(values) >= window:
        means.append((row[more], sum(values[-window:]) / window))

run, fired = [], None
for time, mean in means:
    if mean > limit:
        run.append(time)
        if fired is None and len(run) == streak:
            fired = time
    else:
        if fired is not None:
            print(run[0], fired, time, sep=" / ")
        run, fired = [], None
if fired is not None:
    print(run[0], fired, "open", sep=" / ")

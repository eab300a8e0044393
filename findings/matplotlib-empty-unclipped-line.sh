#!/usr/bin/env bash
# matplotlib 3.11.2: in a figure with constrained layout, a line without points that is not clipped, plot([], [], clip_on=False),
# squeezes all axes of the figure to a sliver. Such a line counts as a point at the origin of the figure, so that the axes
# seem to have a label reaching down to the lower left corner, for which the layout makes room. The same line with clipping,
# the default, changes nothing, nor does an unclipped line with a point inside the axes.
#
# Seen, the width of each of two axes side by side, as a share of the figure:
#     clipped 0.433, unclipped 0.051, unclipped with a point 0.433
#
# There is no warning until several such axes leave no room at all ("constrained_layout not applied because axes sizes
# collapsed to zero"). So a picture of marks that may be none must not draw an empty line. Exits 1 if that changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check matplotlib==3.11.2
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import io
import sys

from matplotlib.figure import Figure


def width(points, clip):
    figure = Figure(figsize=(6, 3), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([1, 2], [1, 2])
    right.plot([1, 2], [1, 2])
    right.plot(points, points, "o", clip_on=clip)
    figure.savefig(io.BytesIO())
    return round(float(right.get_position().width), 3)


found = width([], True), width([], False), width([1.5], False)
print("clipped {}, unclipped {}, unclipped with a point {}".format(*found))
sys.exit(not (found[1] < 0.1 < found[0] == found[2]))
PYTHON

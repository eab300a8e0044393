#!/usr/bin/env bash
# pandas 3.0.0 with openpyxl 3.1.5: DataFrame.to_excel writes a text that begins with "=" as a formula, without the result
# that a spreadsheet would keep beside it. read_excel asks for results alone, so that the text is a missing value after
# one round trip, without a warning; with the engine calamine (python-calamine 0.6.1) too. Texts that begin with +, − or @
# come back as they went. A frame with such labels is written and read with fewer labels than it had:
#
#     written   ['=A', '+B', '-C', '@D', 'E']
#     openpyxl  [nan, '+B', '-C', '@D', 'E']
#     calamine  [nan, '+B', '-C', '@D', 'E']
#
# Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check \
    pandas==3.0.0 openpyxl==3.1.5 python-calamine==0.6.1
cd "$folder"
"$folder/venv/bin/python" -W error - <<'PYTHON'
import sys

import pandas as pd

texts = ["=A", "+B", "-C", "@D", "E"]
pd.DataFrame({"label": texts}).to_excel("labels.xlsx", index=False)
print("written  ", texts)
seen = True
for engine in ("openpyxl", "calamine"):
    found = pd.read_excel("labels.xlsx", engine=engine)["label"].tolist()
    print(engine.ljust(9), found)
    seen = seen and pd.isna(found[0]) and found[1:] == texts[1:]
sys.exit(0 if seen else 1)
PYTHON

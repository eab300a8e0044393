#!/usr/bin/env bash
# pip 23.2.1: `pip install --target FOLDER` leaves out the files that a wheel puts into lib/ of the environment (its
# .data/data/lib), and keeps those of bin/ and include/ beside them, without an error or a warning. The wheel of MPICH has
# libmpi.so there: in a venv mpi4py finds it, in FOLDER there is mpiexec and no library. Seen, for mpich 5.0.2:
#
#     venv: lib/libmpi.so: yes, bin/mpiexec: yes
#     --target: lib/libmpi.so: no, bin/mpiexec: yes, and `pip install` exits 0
#
# Exits 1 if that has changed.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip="$folder/venv/bin/pip --disable-pip-version-check"
$pip install -q pip==23.2.1
$pip install -q mpich==5.0.2
$pip install -q --target "$folder/target" mpich==5.0.2
there() { if [ -e "$folder/$1/$2" ]; then echo yes; else echo no; fi; }
for where in venv target; do
    echo "$where: lib/libmpi.so: $(there $where lib/libmpi.so), bin/mpiexec: $(there $where bin/mpiexec)"
done
[ "$(there venv lib/libmpi.so)$(there target lib/libmpi.so)$(there target bin/mpiexec)" = yesnoyes ]

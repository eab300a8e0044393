"""Random programs against the eager engine: `python -m tests.fuzz`, `make fuzz`.

language.py   a program as lines, loops and lists, and its text, which is run and reported
features.py   the features of programs: each program switches them on and off
generate.py   programs at random, from the table of operations
data.py       the samples and parameters that a program runs on
noise.py      the same program with every operation perturbed: the error of a right answer
reference.py  the answer of the eager engine, and the tolerated distance from it
ways.py       every way to compile and call a program
check.py      one way of one program against the reference
shrink.py     reduces a failing program to its fewest lines, and to a test to paste
faults.py     faults put back one at a time, and after how many programs each is found
"""

"""Random programs against the eager engine: `python -m tests.fuzz`, `make fuzz`.

language.py   a program as lines, loops and lists; its text, which is what runs and what a report shows
features.py   what a program may be made of: each one switches features on and off
generate.py   programs at random, from the table of operations
data.py       the samples and parameters that a program runs on
noise.py      the same program with every operation perturbed: how far a right answer may be off
reference.py  what the eager engine answers, and how far from it a right answer may be
ways.py       every way to compile and call a program
check.py      one way of one program against the reference
shrink.py     a failing program with its fewest lines, and as a test to paste
faults.py     faults put back one at a time, and after how many programs each is found
"""

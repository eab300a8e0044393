"""A GPT of single scalars invents names: `python examples/gpt.py [lines.txt] [--epochs 50]`.

It learns the lines of a text file character by character, by default the public names of Python's standard library, and
makes up new ones. The whole model is arithmetic on single numbers; attention is a loop over the positions so far. The
same functions run eagerly on one document, where every number can be inspected, and compiled for batches.
"""

import argparse
import importlib
import itertools
import random
import sys
import time
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import Value, losses, optim
from macrograd.compiler.step import TrainingLoop

WIDTH, HEADS, LONGEST = 16, 4, 16  # numbers per position, attention heads, positions
BATCH, TURN = 16, 8  # documents per step; consecutive steps on documents of similar length
LENGTHS = 0, 8, LONGEST  # documents are padded to the next of these lengths
SOURCES = (
    "argparse ast asyncio builtins calendar cmath collections configparser contextlib csv datetime decimal difflib "
    "email.message enum fractions functools heapq html http.client inspect io itertools json logging math operator os "
    "pathlib pickle platform queue random re selectors shutil signal socket statistics string struct subprocess "
    "tarfile textwrap threading time tokenize types typing unittest urllib.parse uuid weakref xml.dom.minidom zipfile"
)


def library_names():
    """The public names of the standard library that consist of letters, in lower case."""
    names = set(sys.stdlib_module_names)
    for module in map(importlib.import_module, SOURCES.split()):
        names |= set(dir(module)).union(*(dir(x) for x in vars(module).values() if isinstance(x, type)))
    return sorted({name.lower() for name in names if name.isascii() and name.isalpha() and 1 < len(name) < LONGEST})


def file_lines(path):
    """The lines of a text file that are not empty, cut to the model's longest input."""
    documents = [line.strip()[: LONGEST - 1] for line in Path(path).read_text("utf-8").splitlines() if line.strip()]
    if not documents:
        raise ValueError("it has no lines to learn from, and must hold one document per line")
    return documents


# --- the model: functions of single numbers ------------------------------------------------------------------------


def linear(weights, x):
    return [mg.dot(row, x) for row in weights]


def normalised(x):
    """RMSNorm: x with a mean square of 1."""
    scale = (mg.mean(v * v for v in x) + 1e-5) ** -0.5
    return [v * scale for v in x]


def add(x, y):
    return [a + b for a, b in zip(x, y, strict=True)]


class GPT:
    """One transformer block. Tokens are integers; 0 begins and ends a document."""

    def __init__(self, characters, seed=0):
        self.characters, draw = characters, random.Random(seed)

        def matrix(rows, columns):
            return [[Value(draw.gauss(0, 0.08)) for _ in range(columns)] for _ in range(rows)]

        self.token = matrix(len(characters) + 1, WIDTH)
        self.position = matrix(LONGEST, WIDTH)
        self.query, self.key, self.value, self.mix = (matrix(WIDTH, WIDTH) for _ in range(4))
        self.widen, self.narrow = matrix(4 * WIDTH, WIDTH), matrix(WIDTH, 4 * WIDTH)
        self.head = matrix(len(characters) + 1, WIDTH)

    def parameters(self):
        tables = [table for name, table in vars(self).items() if name != "characters"]
        return [p for table in tables for row in table for p in row]

    def logits(self, tokens):
        """For every position, a score for each token that could follow."""
        keys, values, out = [], [], []
        for place, token in enumerate(tokens):
            x = normalised(add(mg.take(self.token, token), self.position[place]))
            seen = normalised(x)
            query = linear(self.query, seen)
            keys.append(linear(self.key, seen))
            values.append(linear(self.value, seen))
            x = add(x, linear(self.mix, self.attention(query, keys, values)))
            hidden = [mg.relu(v) for v in linear(self.widen, normalised(x))]
            x = add(x, linear(self.narrow, hidden))
            out.append(linear(self.head, x))
        return out

    def attention(self, query, keys, values):
        """For each head, on its part of the vectors, the mean of the values so far, weighted by key · query."""
        found, size = [], WIDTH // HEADS
        for first in range(0, WIDTH, size):
            part = slice(first, first + size)
            weights = mg.softmax(mg.dot(query[part], key[part]) / size**0.5 for key in keys)
            found += [mg.dot(weights, [value[i] for value in values]) for i in range(first, first + size)]
        return found

    def loss(self, tokens, share):
        """The mean cross-entropy of the next tokens. `share` is 1/length within the document, 0 in the padding."""
        predictions = zip(self.logits(tokens[:-1]), tokens[1:], strict=True)
        return mg.dot(share, [losses.cross_entropy(scores, token) for scores, token in predictions])

    def encoded(self, document, positions=None):
        """Tokens and shares of a document, padded to a number of positions."""
        tokens = [0, *(1 + self.characters.index(c) for c in document), 0]
        length, rest = len(document) + 1, (positions or len(document) + 1) - len(document) - 1
        return tokens + [0] * rest, [1 / length] * length + [0.0] * rest


# --- training: in native code, documents of similar length together, so that little is computed on padding ----------


class Training:
    """Adam on batches. Parameters that a length does not use, such as later positions, stay unchanged in its steps."""

    def __init__(self, model, documents, seed=0):
        self.random, self.steps, self.groups = np.random.default_rng(seed), 0, []
        self.loss, adam = mg.compile(model.loss, batch=True, dtype="float32"), optim.Adam(betas=(0.9, 0.99))
        for shorter, positions in itertools.pairwise(LENGTHS):
            chosen = [d for d in documents if shorter < len(d) + 1 <= positions]
            if chosen:
                data = map(np.array, zip(*(model.encoded(d, positions) for d in chosen), strict=True))
                loop = TrainingLoop(self.loss, list(data), adam.rule, adam.initial_state, batch_size=BATCH)
                self.groups.append((loop, len(chosen)))
        # A shorter length uses the same parameters in the same order, without those of positions that it lacks.
        self.parameters = self.groups[-1][0].parameters
        self.theta = np.array([p.data for p in self.parameters], np.float32)
        self.state = np.zeros((2, len(self.parameters)), np.float32)

    def epoch(self, rate):
        """Every document once, in random order; returns the mean loss."""
        orders, most = [(loop, self.random.permutation(count)) for loop, count in self.groups], BATCH * TURN
        turns = [(loop, order[k : k + most]) for loop, order in orders for k in range(0, len(order), most)]
        return float(np.concatenate([self.turn(*turns[k], rate) for k in self.random.permutation(len(turns))]).mean())

    def turn(self, loop, rows, rate):
        """A few steps on documents of similar length."""
        lengths, n = np.diff([*range(0, len(rows), BATCH), len(rows)]), len(loop.theta)
        loop.theta[:], loop.state[:] = self.theta[:n], self.state[:, :n]
        outcome = loop.run(rows, lengths, np.full(len(lengths), rate), self.steps + 1)
        if outcome.why:
            raise ArithmeticError(f"step {self.steps + 1 + outcome.done}: {outcome.why}; try a lower rate")
        self.theta[:n], self.state[:, :n] = loop.theta, loop.state
        self.steps += len(lengths)
        return outcome.losses

    def finish(self):
        """Write the trained numbers into the model."""
        for p, number in zip(self.parameters, self.theta.tolist(), strict=True):
            p.data = number


def invented(model, count, temperature=0.7, seed=0):
    """New documents, character by character, all side by side."""
    logits, draw = mg.compile(model.logits, batch=True, dtype="float32"), np.random.default_rng(seed)
    tokens = np.zeros((count, LONGEST + 1), int)
    for k in range(LONGEST - 1):
        scores = logits(tokens[:, :-1])[:, k] / temperature
        tokens[:, k + 1] = (scores + draw.gumbel(size=scores.shape)).argmax(axis=1)  # a draw from their softmax
    return ["".join(model.characters[t - 1] for t in row[: row.index(0)]) for row in tokens[:, 1:].tolist()]


def main():
    options = argparse.ArgumentParser(description="A GPT of single scalars invents names.")
    options.add_argument("file", nargs="?", help="a text file, one document per line (default: Python's own names)")
    options.add_argument("--epochs", type=int, default=50)
    chosen = options.parse_args()
    if chosen.epochs < 1:
        options.error(f"--epochs must be a positive integer, got {chosen.epochs}")
    try:
        documents = library_names() if chosen.file is None else file_lines(chosen.file)
    except (OSError, ValueError) as error:  # a binary file is a ValueError
        options.error(f"cannot learn from {chosen.file!r}: {error}")
    model, tokens = GPT(sorted(set("".join(documents)))), sum(len(d) + 1 for d in documents)
    print(f"{len(documents)} documents, {tokens} tokens, {len(model.parameters())} parameters")
    print(f"by single scalars, the loss of {documents[0]!r} is {model.loss(*model.encoded(documents[0])).data:.4f}")
    start, training = time.perf_counter(), Training(model, documents)
    print(f"compiled in {time.perf_counter() - start:.1f} s")
    for epoch in range(chosen.epochs):
        start = time.perf_counter()
        loss = training.epoch(rate=0.01 * (1 - epoch / chosen.epochs))
        print(f"epoch {epoch + 1}: loss {loss:.4f}, {tokens / (time.perf_counter() - start):,.0f} tokens a second")
    training.finish()
    print("new:", " ".join(text for text in invented(model, 60) if text not in documents))


if __name__ == "__main__":
    main()

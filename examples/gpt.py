"""A GPT of single scalars invents names: `python examples/gpt.py [lines.txt] [--epochs 50]`.

It learns the lines of a text file character by character, by default the public names of Python's standard library, and
makes up new ones. The whole model is arithmetic on single numbers; attention is a loop over the positions so far. The
same functions run eagerly on one document, where every number can be inspected, and compiled for batches.
"""

import argparse
import importlib
import random
import sys
import time
from pathlib import Path

import numpy as np

import macrograd as mg
from macrograd import Value, datasets, losses, optim
from macrograd.compiler.step import TrainingLoop

WIDTH, HEADS, LONGEST = 16, 4, 16  # numbers per position, attention heads, positions
BATCH, NEVER = 16, -1e9  # rows of documents per step; what is added to a score that must not count
SOURCES = (
    "argparse ast asyncio builtins calendar cmath collections configparser contextlib csv datetime decimal difflib "
    "email.message enum fractions functools heapq html http.client inspect io itertools json logging math operator os "
    "pathlib pickle platform queue random re selectors shutil signal socket statistics string struct subprocess "
    "tarfile textwrap threading time tokenize types typing unittest urllib.parse uuid weakref xml.dom.minidom zipfile"
)


def library_names():
    """The public names of the standard library that consist of letters, in lower case."""
    attributes = [x for name in SOURCES.split() for x in vars(importlib.import_module(name)).items()]
    public = [(name, x) for name, x in attributes if type(x) is not type(sys)]  # a package has modules once imported
    names = {*sys.stdlib_module_names, *dict(public)}.union(*(dir(x) for _, x in public if isinstance(x, type)))
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
    scale = 1 / mg.sqrt(mg.mean(v * v for v in x) + 1e-5)
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

    def logits(self, tokens, places=None, begins=None):
        """For every position, a score for each token that could follow.

        A row may hold several documents: `places` are positions in these, `begins` where each one begins in the row.
        """
        keys, values, out = [], [], []
        for k, token in enumerate(tokens):
            position = self.position[k] if places is None else mg.take(self.position, places[k])
            masks = [] if begins is None else [mg.where(begins[k] <= j, 0.0, NEVER) for j in range(k + 1)]
            x = normalised(add(mg.take(self.token, token), position))
            seen = normalised(x)
            keys.append(linear(self.key, seen))
            values.append(linear(self.value, seen))
            x = add(x, linear(self.mix, self.attention(linear(self.query, seen), keys, values, masks)))
            hidden = [mg.relu(v) for v in linear(self.widen, normalised(x))]
            out.append(linear(self.head, add(x, linear(self.narrow, hidden))))
        return out

    def attention(self, query, keys, values, masks):
        """For each head, on its part of the vectors, the mean of the values so far, weighted by key · query."""
        found, size = [], WIDTH // HEADS
        for first in range(0, WIDTH, size):
            part = slice(first, first + size)
            scores = [mg.dot(query[part], key[part]) / size**0.5 for key in keys]
            weights = mg.softmax(add(scores, masks) if masks else scores)
            found += [mg.dot(weights, [value[i] for value in values]) for i in range(first, first + size)]
        return found

    def loss(self, tokens, share):
        """The mean cross-entropy of the next tokens. `share` is 1/length within the document, 0 in the padding."""
        return self.row_loss(tokens[:-1], tokens[1:], share)

    def row_loss(self, tokens, targets, share, places=None, begins=None):
        """The same of a row of documents, one behind the other."""
        predictions = zip(self.logits(tokens, places, begins), targets, strict=True)
        return mg.dot(share, [losses.cross_entropy(scores, token) for scores, token in predictions])

    def encoded(self, document, positions=None):
        """Tokens and shares of a document, padded to a number of positions."""
        tokens = [0, *(1 + self.characters.index(c) for c in document), 0]
        length, rest = len(document) + 1, (positions or len(document) + 1) - len(document) - 1
        return tokens + [0] * rest, [1 / length] * length + [0.0] * rest


# --- training: in native code, on rows of several documents, so that little is computed on padding -------------------


def arrays(model, documents):
    """Rows of documents, as arguments of `row_loss`; its mean over the rows is that of `loss` over the documents."""
    packing = datasets.packed([len(document) + 1 for document in documents], LONGEST)
    encoded = [model.encoded(document, LONGEST) for document in documents] + [([0] * (LONGEST + 1), [0.0] * LONGEST)]
    tokens, share = map(np.array, zip(*encoded, strict=True))  # the last one is padding
    which, place = packing.sequence, packing.place
    weights = share[which, place] * len(which) / len(documents)
    return [tokens[which, place], tokens[which, place + 1], weights, place, packing.begin]


class Training:
    """Adam on batches of rows."""

    def __init__(self, model, documents, seed=0):
        self.random, self.steps, adam = np.random.default_rng(seed), 0, optim.Adam(betas=(0.9, 0.99))
        self.loss, data = mg.compile(model.row_loss, batch=True, dtype="float32"), arrays(model, documents)
        self.loop = TrainingLoop(self.loss, data, adam.rule, adam.initial_state, batch_size=BATCH)
        self.rows = len(data[0])

    def epoch(self, rate):
        """Every row once, in random order; returns the mean loss."""
        order, lengths = self.random.permutation(self.rows), np.diff([*range(0, self.rows, BATCH), self.rows])
        outcome = self.loop.run(order, lengths, np.full(len(lengths), rate), self.steps + 1)
        if outcome.why:
            raise ArithmeticError(f"step {self.steps + 1 + outcome.done}: {outcome.why}; try a lower rate")
        self.steps += len(lengths)
        return float(outcome.losses.mean())

    def finish(self):
        """Write the trained numbers into the model."""
        for p, number in zip(self.loop.parameters, self.loop.theta.tolist(), strict=True):
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

"""Neural networks from single scalars: modules, activations, initialisers and losses."""

import sys
from typing import Any

from macrograd._names import unknown
from macrograd.nn import activations, init, losses
from macrograd.nn.dropout import Dropout
from macrograd.nn.layers import MLP, Layer, Neuron
from macrograd.nn.module import Module
from macrograd.nn.scaled import Scaled
from macrograd.nn.starts import starts
from macrograd.nn.tabular import Tabular

__all__ = [
    "MLP",
    "Dropout",
    "Layer",
    "Module",
    "Neuron",
    "Scaled",
    "Tabular",
    "activations",
    "init",
    "losses",
    "starts",
]

_ELSEWHERE = {
    **dict.fromkeys(("Linear", "Dense"), "nn.Layer(2, 16) is 16 neurons of 2 inputs, activation included"),
    "Sequential": "nn.MLP(2, [16, 1]) is a stack of layers; a Module of your own calls them one after the other",
    **dict.fromkeys(("ReLU", "Tanh", "Sigmoid"), 'activations are named, as in nn.MLP(2, [16, 1], activation="tanh")'),
    **dict.fromkeys(("MSELoss", "L1Loss", "BCEWithLogitsLoss", "CrossEntropyLoss"), "losses are functions: mg.losses"),
    "Parameter": "any Value in an attribute of a Module is a parameter",
}


def __getattr__(name: str) -> Any:
    raise unknown("module 'macrograd.nn'", name, sys.modules[__name__], _ELSEWHERE)

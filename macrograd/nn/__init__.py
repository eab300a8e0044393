"""Neural networks from single scalars: modules, activations, initialisers and losses."""

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

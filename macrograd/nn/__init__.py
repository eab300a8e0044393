"""Neural networks from single scalars: modules, activations, initialisers and losses."""

from macrograd.nn import activations, init, losses
from macrograd.nn.dropout import Dropout
from macrograd.nn.layers import MLP, Layer, Neuron
from macrograd.nn.module import Module
from macrograd.nn.scaled import Scaled

__all__ = ["MLP", "Dropout", "Layer", "Module", "Neuron", "Scaled", "activations", "init", "losses"]

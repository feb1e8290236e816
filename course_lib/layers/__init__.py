"""Layers from scratch: forward and backward written out, held to their twins in ``torch.nn`` by tests.

A layer here is two things. An autograd function carries the mathematics: ``forward`` computes, ``backward``
is the derivation on paper turned into code. A module around it carries the parameters, the mode, and the
names that ``torch.nn`` gives them, so that state dicts load both ways.
"""

from course_lib.layers.dropout import Dropout, DropoutFunction
from course_lib.layers.normalization import BatchNorm, BatchNormFunction

__all__ = ["BatchNorm", "BatchNormFunction", "Dropout", "DropoutFunction"]

"""Layers from scratch: forward and backward written out, held to their twins in ``torch.nn`` by tests.

A layer here is two things. An autograd function carries the mathematics: ``forward`` computes, ``backward``
is the derivation on paper turned into code. A module around it carries the parameters, the mode, and the
names that ``torch.nn`` gives them, so that state dicts load both ways.
"""

from course_lib.layers.convolution import Conv2d, Conv2dFunction, col2im, im2col
from course_lib.layers.dropout import Dropout, DropoutFunction
from course_lib.layers.normalization import BatchNorm, BatchNormFunction
from course_lib.layers.pooling import AvgPool2d, AvgPool2dFunction, MaxPool2d, MaxPool2dFunction
from course_lib.layers.windows import add_windows, output_size, windows

__all__ = [
    "AvgPool2d",
    "AvgPool2dFunction",
    "BatchNorm",
    "BatchNormFunction",
    "Conv2d",
    "Conv2dFunction",
    "Dropout",
    "DropoutFunction",
    "MaxPool2d",
    "MaxPool2dFunction",
    "add_windows",
    "col2im",
    "im2col",
    "output_size",
    "windows",
]

"""Figures in the book's style: matplotlib, one palette, readable without colour.

Every function returns the matplotlib ``Figure``, so that a chapter can still change it. Figures
are drawn on white paper; the book's style sheet turns them over for dark pages.
"""

from course_lib.plotting.confusion import confusion_counts, confusion_matrix
from course_lib.plotting.curves import curves
from course_lib.plotting.diagram import Node, diagram, trace
from course_lib.plotting.histograms import histograms
from course_lib.plotting.images import alt_text, feature_maps, filters, misclassified
from course_lib.plotting.style import WIDTH, use_style

__all__ = [
    "WIDTH",
    "Node",
    "alt_text",
    "confusion_counts",
    "confusion_matrix",
    "curves",
    "diagram",
    "feature_maps",
    "filters",
    "histograms",
    "misclassified",
    "trace",
    "use_style",
]

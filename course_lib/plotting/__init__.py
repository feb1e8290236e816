"""Figures in the book's style: matplotlib, one palette, readable without colour.

Every function returns the matplotlib ``Figure``, so that a chapter can still change it. Figures
are drawn on white paper; the book's style sheet turns them over for dark pages.
"""

from course_lib.plotting.curves import curves
from course_lib.plotting.histograms import histograms
from course_lib.plotting.style import WIDTH, use_style

__all__ = ["WIDTH", "curves", "histograms", "use_style"]

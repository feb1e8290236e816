"""A torch function as a small graph that a page can run: no kernel, no server, no torch.

:func:`trace` runs a function once, on tensors that stand for its inputs, and writes down which operations
it used. :meth:`Graph.to_dict` makes that JSON, weights included; ``engine.js`` runs it in a page, and
:meth:`Graph.run` runs it here, which is what the page is held to.
"""

from course_lib.graph.lowering import Graph, Node, Ref
from course_lib.graph.operations import OPERATIONS
from course_lib.graph.tracing import Untraceable, trace

__all__ = ["OPERATIONS", "Graph", "Node", "Ref", "Untraceable", "trace"]

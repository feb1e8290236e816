"""How deep networks are made to train: the library behind the book.

Each module is about one idea; import the ones you need::

    from course_lib import data, init, measure, optim, training
    from course_lib.models.mlp import MLP
"""

__version__ = "0.1.0"

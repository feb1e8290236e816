"""Hyperparameters, searched: a space of ranges, trials drawn from it, and a table of what they gave.

:func:`random_search` is the method of the chapter, in a page of code. :func:`grid_search` is what it
replaced. :func:`optuna_search` hands the same space to Optuna: trials that look hopeless are stopped early,
and several processes work on one storage, from which a search that was interrupted goes on.

An objective takes a dict of hyperparameters and a ``report``, and returns a score, the higher the better::

    def objective(parameters, report):
        model = ...
        for epoch in range(5):
            ...
            report(accuracy)  # after each epoch; may stop the trial
        return accuracy
"""

from course_lib.search.drawn import grid_search, random_search
from course_lib.search.space import Choice, Integer, LogUniform, Uniform, narrow, sample
from course_lib.search.trials import Pruned, Trial, Trials
from course_lib.search.workers import optuna_search

__all__ = [
    "Choice",
    "Integer",
    "LogUniform",
    "Pruned",
    "Trial",
    "Trials",
    "Uniform",
    "grid_search",
    "narrow",
    "optuna_search",
    "random_search",
    "sample",
]

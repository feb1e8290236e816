"""The explorer: an interactive figure that outlives its kernel.

::

    from course_lib.explorer import Figure, explore, histogram

    def spread(weight_scale, activation):
        ...
        return Figure([histogram(values, title="layer 1", xlabel="activation")])

    explore(spread, weight_scale=np.geomspace(1e-3, 10, 41), activation=["sigmoid", "tanh", "relu"])

``explore`` calls the function for every combination of the controls and keeps what comes back. In
Jupyter and Colab the result is a live widget, whose sliders also stop between the grid's values; in
plain HTML the same sliders move between the frames that were kept; without scripts a picture stays. With
``live=True`` the page computes: the function is traced, and its sliders are continuous everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from course_lib.explorer.controls import Control, named_controls
from course_lib.explorer.figure import Figure
from course_lib.explorer.inputs import Noise, Point, TensorControl
from course_lib.explorer.panels import bars, heatmap, histogram, image, landscape, lines, scatter
from course_lib.explorer.playing import play
from course_lib.explorer.template import cases, text

if TYPE_CHECKING:
    from course_lib.explorer.widget import Explorer

__all__ = [
    "Control",
    "Figure",
    "Noise",
    "Point",
    "bars",
    "cases",
    "explore",
    "heatmap",
    "histogram",
    "image",
    "landscape",
    "lines",
    "play",
    "scatter",
    "text",
]


def explore(
    fn: Callable[..., Figure],
    /,
    *,
    title: str | None = None,
    caption: str | None = None,
    alt: str | None = None,
    live: bool = False,
    packing: str = "float32",
    **controls: Any,
) -> Explorer:
    """An explorer of ``fn`` over every combination of the controls' values.

    fn: called with one keyword argument a control, returns a ``Figure``; its panels must agree in
        number, kind and title over all combinations.
    title, caption: shown above and below.  alt: what the still picture shows, for who cannot see it.
    live: the page computes. ``fn`` is traced once for each combination of the choices, with tensors of one
        number for the numeric controls, so it works with tensors all the way and says numbers with ``text``
        and ``cases``. The grid of values then serves the still picture and the proof that page and
        ``fn`` agree, so a few values a control are enough.
    packing: how a live explorer's weights travel, see ``Graph.to_dict``.
    controls: name = a sequence of values, or a ``Control`` with label, start and unit. Numbers make a
        slider (logarithmic where their spacing is), two to four strings or booleans a row of choices,
        more a menu. With ``live`` also a ``Point`` or ``Noise``.

    Returns the widget; as the last line of a cell it shows itself. Each control is a trait of the same
    name, to be linked, observed and set.

    Raises ValueError for unfit controls (no values, mixed types, a name that the widget needs), frames
    whose panels differ, a ``fn`` that cannot be traced or gives something else traced, and an explorer of
    more than 300 KB, script and style not counted; RuntimeError, with the control's values, where ``fn``
    raises.
    """
    # Imported here: anywidget brings ipywidgets and IPython, which the rest of the library does without.
    from course_lib.explorer import frames, picture, static
    from course_lib.explorer.widget import Explorer, check_names

    if not callable(fn):
        raise ValueError(f"explore: fn is {fn!r:.60}; it must be a function that returns a Figure")
    ready = named_controls(controls)
    check_names(ready)
    if live:
        return _live(fn, ready, title, caption, alt, packing)
    for name, control in ready.items():
        if isinstance(control, TensorControl):
            kind = type(control).__name__
            raise ValueError(f"explore: control {name!r} is a {kind}, for which the page computes: live=True")
    computed = frames.compute(fn, ready, overhead=static.OVERHEAD)
    start = {name: control.start for name, control in ready.items()}
    first = computed[list(frames.combinations(ready)).index(start)]
    spec = static.specification(ready, frames.encode(computed), title=title)
    html = static.html(
        spec,
        png=picture.png(first),
        alt=alt or picture.alt(first, title, frames.describe(start)),
        title=title,
        caption=caption,
    )
    size = static.own_bytes(html)
    if size > frames.LIMIT:
        raise ValueError(frames.too_large(ready, size))
    return Explorer(fn, ready, spec, html, first, caption)


def _live(
    fn: Callable[..., Figure],
    controls: dict[str, Any],
    title: str | None,
    caption: str | None,
    alt: str | None,
    packing: str,
) -> Explorer:
    """``explore`` where the page computes."""
    from course_lib.explorer import frames, live

    called = live.with_arguments(fn, controls)
    start = {name: control.start for name, control in controls.items()}
    first = frames.call(called, start)  # before the trace: what fails with numbers says it more plainly
    traced = live.trace_all(fn, controls)
    live.check(fn, controls, traced)
    grid = [frames.call(called, values) for values in frames.combinations(controls)]
    for frame, values in zip(grid, frames.combinations(controls), strict=True):
        frames.check_same(frame, values, first, start)
    computes = {"live": live.encode(traced, packing)}
    return live.widget(called, controls, computes, first, grid, title=title, caption=caption, alt=alt)

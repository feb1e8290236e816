"""The live half: an anywidget whose traits are the controls, and which computes between the grid's values."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import anywidget
import traitlets

from course_lib.explorer import static
from course_lib.explorer.controls import Control
from course_lib.explorer.figure import Figure
from course_lib.explorer.frames import call, check_same
from course_lib.explorer.inputs import TensorControl


class Number(traitlets.TraitType):
    """A number of a control's range; beyond an end it becomes the end, as in ipywidgets' sliders."""

    info_text = "a finite number"

    def __init__(self, control: Control) -> None:
        super().__init__(default_value=control.start)
        self.control = control

    def validate(self, obj: Any, value: Any) -> float | int:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, (bool, str)) or not math.isfinite(number):
            self.error(obj, value)
        number = min(max(number, self.control.values[0]), self.control.values[-1])
        if not self.control.between:
            return self.control.nearest(number)
        return round(number) if self.control.integer else number


class Plain(traitlets.TraitType):
    """The plain data of a control whose value is a tensor."""

    info_text = "what the control takes"

    def __init__(self, control: TensorControl) -> None:
        super().__init__(default_value=control.start)
        self.control = control

    def validate(self, obj: Any, value: Any) -> Any:
        try:
            return self.control.check(value)
        except ValueError as error:
            raise traitlets.TraitError(str(error)) from None


def _trait(control: Control | TensorControl) -> traitlets.TraitType:
    if isinstance(control, TensorControl):
        return Plain(control)
    return Number(control) if control.numeric else traitlets.Enum(control.values, default_value=control.start)


class Explorer(anywidget.AnyWidget):
    """What ``explore`` returns: an ipywidget with one synced trait a control.

    ``explorer.compute(weight_scale=0.3)`` gives the frame at any values, the others as they stand.
    """

    _esm = static.engine() + "\n" + static.script()
    _css = static.style()
    # ipywidgets 7, which Colab has, would show itself by this method and leave out the HTML.
    _ipython_display_ = None
    _spec = traitlets.Dict().tag(sync=True)
    _caption = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        fn: Callable[..., Figure],
        controls: Mapping[str, Control],
        spec: Mapping[str, Any],
        html: str,
        first: Mapping[str, Any],
        caption: str | None = None,
    ) -> None:
        self._fn, self._controls, self._html, self._start = fn, dict(controls), html, first
        self.add_traits(**{name: _trait(control).tag(sync=True) for name, control in controls.items()})
        super().__init__(_spec=dict(spec), _caption=caption or "")
        self.on_msg(self._answer)

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values as they stand."""
        return {name: getattr(self, name) for name in self._controls}

    def compute(self, **values: Any) -> dict[str, Any]:
        """The frame at ``values``, computed now; see ``explore`` for what it raises."""
        if unknown := values.keys() - self._controls.keys():
            raise ValueError(f"Explorer: no control {unknown.pop()!r}; there are {', '.join(self._controls)}")
        for name, value in values.items():
            values[name] = self.traits()[name].validate(self, value)
        wanted = self.values | values
        frame = call(self._fn, wanted)
        start = {name: control.start for name, control in self._controls.items()}
        check_same(frame, wanted, self._start, start)
        return frame

    def _answer(self, _: Any, message: Any, __: Any) -> None:
        """Compute what the page asks for; it asks again only when it has the answer."""
        if not isinstance(message, dict) or message.get("kind") != "compute":
            return
        answer = {"kind": "frame", "id": message.get("id")}
        try:
            answer["frame"] = self.compute(**message["values"])
        except Exception as error:
            answer["error"] = str(error).removeprefix("explore: ")
        self.send(answer)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}: {len(control.values)} values" for name, control in self._controls.items())
        return f"Explorer({sizes})"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        return {**data, "text/html": self._html, "text/plain": repr(self)}, metadata


def check_names(controls: Mapping[str, Control]) -> None:
    """Raises ValueError for a control whose name the widget needs for itself."""
    for name in controls:
        if name.startswith("_") or hasattr(Explorer, name):
            raise ValueError(
                f"explore: control {name!r} has a name that ipywidgets uses; take another, such as "
                f"{name.strip('_')}_value"
            )

"""``play``: a state that steps, in the page, by hand or by itself.

::

    def step(state, learning_rate):
        w = state["w"]
        return {"w": w - learning_rate * gradient(w)}

    def view(state, past):
        return Figure([landscape(HEIGHTS, {"SGD": past["w"].T}, levels=[1, 2, 4], **BOX)])

    play(step, {"w": torch.tensor([-7.0, 2.0])}, view, steps=60, keep=["w"], learning_rate=[0.1, 0.5, 1.0])

The three functions are traced, once for each combination of the choices, and run in the page. Each takes the
controls that it names, numbers as tensors of 0 dimensions.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from course_lib.explorer import frames
from course_lib.explorer.controls import named_controls
from course_lib.explorer.figure import Figure
from course_lib.explorer.inputs import Noise

if TYPE_CHECKING:
    from course_lib.explorer.widget import Explorer

State = dict[str, Tensor]
TRIED = 3  # steps after which the traces are compared with the functions
MOST = 2000  # steps: the page keeps the past of each


@dataclass(frozen=True)
class Played:
    """What ``play`` was given, run by torch: what the page is held to."""

    initial: Callable[..., State]
    step: Callable[..., State]
    view: Callable[..., Figure]
    steps: int
    keep: tuple[str, ...]
    controls: Mapping[str, Any]

    def states(self, **values: Any) -> Iterator[State]:
        """The initial state and each one after it. Random numbers come one tensor a use, from the seed on."""
        streams = {n: c.stream(values[n]) for n, c in self.controls.items() if isinstance(c, Noise)}

        def given(fn: Callable) -> dict[str, Any]:
            names = _named(fn, self.controls)
            return {
                n: streams[n]() if n in streams else _argument(self.controls[n], values[n]) for n in names
            }

        state = _tensors(self.initial(**given(self.initial)), "state")
        yield state
        while True:
            state = _tensors(self.step({n: t.clone() for n, t in state.items()}, **given(self.step)), "step")
            yield state

    def figure(self, done: int, **values: Any) -> Figure:
        """What stands after ``done`` steps."""
        visited = [state for _, state in zip(range(done + 1), self.states(**values), strict=False)]
        past = {
            name: torch.stack([state[name] for state in visited] + [visited[-1][name]] * (self.steps - done))
            for name in self.keep
        }
        return self.show(visited[-1], past, **values)

    def show(self, state: State, past: State, **values: Any) -> Figure:
        """``view`` at these values."""
        given = {n: _argument(self.controls[n], values[n]) for n in _named(self.view, self.controls)}
        return self.view(state, past, **given) if self.keep else self.view(state, **given)


def play(
    step: Callable[..., State],
    state: State | Callable[..., State],
    view: Callable[..., Figure],
    /,
    *,
    steps: int,
    keep: Sequence[str] = (),
    shown: int = 0,
    speed: float = 20,
    replay: bool = False,
    pick: Mapping[str, bool] | None = None,
    packing: str = "float32",
    title: str | None = None,
    caption: str | None = None,
    alt: str | None = None,
    **controls: Any,
) -> Explorer:
    """A figure of a state that steps, with Play, Step, Back to the start, a speed, and controls.

    step: ``step(state, …)`` gives the next state, a dict with the same tensors.
    state: the initial one, a dict of tensors or numbers, or a function of controls that gives it.
    view: ``view(state, …)`` gives the ``Figure``; with ``keep`` it is ``view(state, past, …)``, where
        ``past[name]`` is (steps + 1, …): what ``state[name]`` was at each step, and after now what it is now.
    steps: where it ends.  keep: of which tensors the past is kept.
    shown: the step at which the page opens, and which the still picture shows.
    speed: steps a second at first.
    replay: a control that is moved while nothing plays is as if it had stood there from the start: as many
        steps are taken again. For steps of which a hundred take no time. Otherwise it holds from now on.
    pick: names of lines and paths that the reader may hide, and whether each is shown at first.
    controls: as for ``explore`` with ``live=True``; a ``Noise`` gives fresh numbers to each step.

    A run stops where a tensor whose past is kept, or with no ``keep`` any tensor of the state, has no finite
    number left, and says so.

    Raises ValueError as ``explore`` does, and for a step that changes the state's names, shapes or types.
    """
    from course_lib.explorer import live
    from course_lib.explorer.widget import check_names

    ready = named_controls(controls)
    check_names(ready)
    if isinstance(steps, bool) or not isinstance(steps, int) or not 1 <= steps <= MOST:
        raise ValueError(f"play: steps is {steps!r}; it must be a whole number from 1 to {MOST}")
    if not isinstance(shown, int) or not 0 <= shown <= steps:
        raise ValueError(f"play: shown is {shown!r}; it must be a whole number from 0 to steps, {steps}")
    played = Played(_initial(state), step, view, steps, tuple(keep), ready)
    start = {name: control.start for name, control in ready.items()}
    two = [one for _, one in zip(range(2), played.states(**start), strict=False)]
    _check_state(*two, played.keep)

    def figure(**values: Any) -> Figure:
        return played.figure(shown, **values)

    first = frames.call(figure, start)
    grid = [first]
    for name, control in ready.items():
        values = start | {name: control.farthest()}
        grid.append(frames.call(figure, values))
        frames.check_same(grid[-1], values, first, start)
    computes = {"play": _traced(played, two[0], shown, speed, replay, packing)}
    if pick:
        computes["pick"] = _picked(pick, first)
    return live.widget(figure, ready, computes, first, grid, title=title, caption=caption, alt=alt)


def _traced(
    played: Played, initial: State, shown: int, speed: float, replay: bool, packing: str
) -> dict[str, Any]:
    """What the page plays with. Each trace is run a few steps beside its function."""
    from course_lib import graph
    from course_lib.explorer import live

    controls = played.controls
    parts: dict[str, list[Any]] = {"initial": [], "step": [], "view": []}
    templates = []
    done: dict[tuple[Any, ...], graph.Graph] = {}
    state = {f"state.{name}": tensor for name, tensor in initial.items()}
    past = {f"past.{name}": torch.stack([initial[name]] * (played.steps + 1)) for name in played.keep}
    for chosen in live.choices(controls):
        values = {name: control.start for name, control in controls.items()} | chosen

        def inputs(fn: Callable, chosen: Mapping[str, Any] = chosen) -> dict[str, Any]:
            return {n: live.example(controls[n]) for n in _named(fn, controls) if n not in chosen}

        begin, step, view = (
            _with_groups(
                fn, {n: v for n, v in chosen.items() if n in _named(fn, controls)}, bool(played.keep)
            )
            for fn in (played.initial, played.step, played.view)
        )
        # Choices that a function does not take do not change its trace.
        for part, fn, taken, given in (
            ("initial", begin, played.initial, inputs(played.initial)),
            ("step", step, played.step, {**state, **inputs(played.step)}),
        ):
            key = part, *(v for n, v in chosen.items() if n in _named(taken, controls))
            if key not in done:
                done[key] = graph.trace(fn, given)
            parts[part].append(done[key])
        viewed = live.trace_figure(view, {**state, **past, **inputs(played.view)})
        parts["view"].append(viewed.graph)
        templates.append(viewed.template)
        _check_traces(played, parts, values)
    places, pool = live.pooled([one for part in parts.values() for one in part], packing)
    count = len(templates)
    return {
        **{name: places[k * count : (k + 1) * count] for k, name in enumerate(parts)},
        **pool,
        "templates": frames.encode(templates),
        "keep": list(played.keep),
        "steps": played.steps,
        "shown": shown,
        "speed": speed,
        "replay": replay,
        "restarts": [
            n for n, c in controls.items() if n in _named(played.initial, controls) or isinstance(c, Noise)
        ],
    }


def _check_traces(played: Played, parts: Mapping[str, list[Any]], values: Mapping[str, Any]) -> None:
    """Raises ValueError where the last traces, run a few steps, give another state than the functions."""
    from course_lib.explorer.live import _close

    controls = played.controls
    streams = {n: c.stream(values[n]) for n, c in controls.items() if isinstance(c, Noise)}

    def given(graph: Any, state: State) -> dict[str, Any]:
        names = {name for name, _, _ in graph.inputs}
        tensors = {f"state.{name}": tensor for name, tensor in state.items() if f"state.{name}" in names}
        return tensors | {
            n: streams[n]() if n in streams else _argument(controls[n], values[n])
            for n in controls
            if n in names
        }

    initial, step = parts["initial"][-1], parts["step"][-1]
    ours = initial.run(**given(initial, {}))
    for k, theirs in zip(range(TRIED), played.states(**values), strict=False):
        for name, tensor in theirs.items():
            if not _close(ours[name], tensor):
                raise ValueError(
                    f"play: after {k} steps at {frames.describe(values)} the traced functions give another "
                    f"{name!r} than they do by themselves. A value was frozen when they were traced: compute "
                    "with tensors all the way"
                )
        ours = step.run(**given(step, ours))


def _picked(pick: Mapping[str, bool], frame: Mapping[str, Any]) -> dict[str, bool]:
    """``pick`` as the page reads it. Raises ValueError for a name that no panel has, and for none shown."""
    names = {name for panel in frame["panels"] for name in panel.get("labels", [])}
    names |= {path["label"] for panel in frame["panels"] for path in panel.get("paths", [])}
    if unknown := pick.keys() - names:
        raise ValueError(f"play: pick has {min(unknown)!r}; the panels have {', '.join(sorted(names))}")
    if not any(pick.values()):
        raise ValueError("play: pick shows nothing at first; let at least one be True")
    return {name: bool(shown) for name, shown in pick.items()}


def _initial(state: Any) -> Callable[..., State]:
    if callable(state):
        return state
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"play: state is {state!r:.60}; give a dict of tensors, or a function that does")
    return lambda: {name: torch.as_tensor(value).clone() for name, value in state.items()}


def _check_state(initial: State, after: State, keep: Sequence[str]) -> None:
    if absent := [name for name in keep if name not in initial]:
        raise ValueError(f"play: keep has {absent[0]!r}; the state has {', '.join(initial)}")
    if initial.keys() != after.keys():
        raise ValueError(
            f"play: step gives {', '.join(after)} of the state {', '.join(initial)}; give each, no other"
        )
    for name, before in initial.items():
        now = after[name]
        if (before.shape, before.dtype) != (now.shape, now.dtype):
            raise ValueError(
                f"play: step makes {name!r} {tuple(now.shape)} {now.dtype}; it was {tuple(before.shape)} "
                f"{before.dtype}, and must stay that"
            )


def _tensors(state: Any, who: str) -> State:
    if not isinstance(state, Mapping):
        raise ValueError(f"play: {who} gives a {type(state).__name__}; it must give a dict of tensors")
    return {name: torch.as_tensor(value).detach() for name, value in state.items()}


def _named(fn: Callable, controls: Mapping[str, Any]) -> list[str]:
    """The controls that ``fn`` takes: those that it names, or all with ``**``."""
    parameters = inspect.signature(fn).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return list(controls)
    return [name for name in controls if name in parameters]


def _argument(control: Any, value: Any) -> Any:
    """What the functions receive: the same types as in the trace, so that torch computes the same."""
    from course_lib.explorer.live import as_tensor, is_continuous

    return as_tensor(control, value) if is_continuous(control) else value


def _with_groups(fn: Callable, chosen: Mapping[str, Any], keeps: bool) -> Callable:
    """``fn`` with ``state.w`` and ``past.w`` as two dicts in front."""

    @functools.wraps(fn)
    def called(**inputs: Any) -> Any:
        groups: dict[str, dict[str, Any]] = {"state": {}, "past": {}}
        rest = {}
        for name, value in inputs.items():
            group, dot, inner = name.partition(".")
            if dot:
                groups[group][inner] = value
            else:
                rest[name] = value
        front = [group for group in groups.values() if group]
        return fn(*front, **chosen, **rest)

    return called

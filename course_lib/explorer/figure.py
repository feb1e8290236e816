"""One frame of an explorer: panels and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from course_lib.explorer.panels import KINDS, Panel


@dataclass(frozen=True)
class Figure:
    """One frame of an explorer.

    panels: what the panel functions (``histogram`` … ``landscape``) return, in reading order.
    columns: panels side by side where there is room; ``None`` lets the width decide.
    summary: one sentence, shown below the panels and read out when a control moves.

    Raises ValueError for no panels, for something that is not a panel, and for columns below 1.
    """

    panels: Sequence[Panel]
    columns: int | None = None
    summary: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.panels, Mapping) or not isinstance(self.panels, Sequence):
            raise ValueError(f"Figure: panels is a {type(self.panels).__name__}; give a list of panels")
        if not self.panels:
            raise ValueError("Figure: panels is empty; give at least one panel")
        for position, panel in enumerate(self.panels, 1):
            if not isinstance(panel, Mapping) or panel.get("kind") not in KINDS:
                raise ValueError(
                    f"Figure: panel {position} is {panel!r:.80}; panels come from {', '.join(KINDS)}"
                )
        if self.columns is not None and (not isinstance(self.columns, int) or self.columns < 1):
            raise ValueError(f"Figure: columns is {self.columns!r}; it must be a whole number from 1 up")

    def to_dict(self) -> dict[str, Any]:
        """The figure as plain JSON data."""
        return {"panels": list(self.panels), "columns": self.columns, "summary": self.summary or ""}

"""What holds for every waterfall, whoever drew it."""

from __future__ import annotations

from voxyray.waterfall import TurnView


def check_sums(view: TurnView) -> None:
    """The parts follow one another without holes and sum to the gap."""
    spoken = [part for part in view.parts if part.kind != "carrier"]
    at_ms = 0.0
    for part in spoken:
        assert part.at_ms == at_ms
        if part.ms is None:
            assert part is spoken[-1], "only the last part may be open"
            assert view.gap_ms is None
            break
        assert part.ms >= 0
        at_ms = round(at_ms + part.ms, 3)
    if view.gap_ms is not None:
        assert at_ms == view.gap_ms
    if view.audible_ms is not None:
        carrier = view.parts[-1]
        assert carrier.kind == "carrier"
        assert carrier.ms is not None
        assert round((view.gap_ms or 0.0) + carrier.ms, 3) == view.audible_ms

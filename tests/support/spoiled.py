"""Wire values gone wrong in every place: what reads them must answer with a typed error or a value."""

from collections.abc import Iterator

JUNK = [None, True, 7, -1.5, 10**400, "", "x", [], [None], ["x"], {}, {"x": 1}, [{"x": [1]}]]


def spoiled(wire: object) -> Iterator[object]:
    """The value with each of its parts in turn replaced by junk."""
    yield from JUNK
    items = wire.items() if isinstance(wire, dict) else enumerate(wire) if isinstance(wire, list) else ()
    for place, inner in items:
        for junk in spoiled(inner):
            copy = wire.copy()  # type: ignore[attr-defined]
            copy[place] = junk
            yield copy

"""What models take on the disk."""

from __future__ import annotations

from pathlib import Path

import msgspec

from awsllm.store import installed, packed

ELSEWHERE = "(packed)"
"""No model: the files that were made of models which do not lie in the cache."""


class DiskUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes of one model: ``size`` in its home, ``partial`` of what was half fetched or refused. ``linked`` of them are
    in files that have another name elsewhere, so removing the model does not free these. ``packed`` of ``size`` were
    made of the model to load and compute it faster, and are made again where they are missing."""

    name: str
    size: int
    partial: int
    linked: int
    path: str
    packed: int = 0


def measured(cache: Path) -> tuple[DiskUsage, ...]:
    """Each model of the cache, the largest first, and what was made of models elsewhere."""
    models, staging = cache / "models", cache / "staging"
    homes = {one.name: one for one in _directories(models)}
    halves: dict[str, list[Path]] = {}
    for one in _directories(staging):
        halves.setdefault(one.name.removesuffix(".ready").partition("@@@")[0], []).append(one)
    found = [_measured(name, homes.get(name), halves.get(name, [])) for name in {*homes, *halves}]
    if made := _bytes(cache / packed.FOLDER):
        place = str(cache / packed.FOLDER)
        found.append(DiskUsage(name=ELSEWHERE, size=made, partial=0, linked=0, path=place, packed=made))
    return tuple(sorted(found, key=lambda one: (-one.size - one.partial, one.name)))


def _measured(slug: str, home: Path | None, halves: list[Path]) -> DiskUsage:
    described = installed.read(home) if home is not None else None
    stats = [file.stat() for file in home.rglob("*") if file.is_file()] if home is not None else []
    return DiskUsage(
        name=described.name if described else slug.replace("--", "/").replace("@@", ":"),
        size=sum(stat.st_size for stat in stats),
        partial=sum(_bytes(half) for half in halves),
        linked=sum(stat.st_size for stat in stats if stat.st_nlink > 1),
        path=str(home or halves[0]),
        packed=_bytes(home, f"*{packed.SUFFIX}") if home is not None else 0,
    )


def _bytes(place: Path, pattern: str = "*") -> int:
    return sum(file.stat().st_size for file in place.rglob(pattern) if file.is_file())


def _directories(place: Path) -> list[Path]:
    return [one for one in place.iterdir() if one.is_dir()] if place.is_dir() else []

"""The library of kernels in ``source``, by ctypes: the structures that it reads, and what it can run here.

It is built with awsllm's wheels, and by any C compiler where awsllm is installed from its source (``hatch_build.py``).
Where there is none, or the processor has none of the instructions, PyTorch computes.
"""

from __future__ import annotations

import os
import sys
from ctypes import CDLL, POINTER, Structure, c_char_p, c_float, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LAYOUT: Final = 5  # of packed weights and of the structures below; the library must have the same
GROUP, TILE, TILE4, TILE8 = 32, 16, 320, 576  # as in model.h
SUFFIX: Final = {"win32": ".dll", "darwin": ".dylib"}.get(sys.platform, ".so")
PATH: Final = Path(__file__).with_name(f"_kernels{SUFFIX}")
CHOICE: Final = "AWSLLM_KERNEL"
"""The environment variable that names the kernel to use, or ``none``."""

ACTIVATIONS: Final = ("silu", "gelu", "gelu_tanh", "relu", "clamped")
MAPS: Final = ("qkv", "output", "up", "down")
NORMS: Final = ("none", "rms", "layer")


class Matrix(Structure):
    _fields_ = (
        ("data", c_void_p), ("bias", c_void_p), ("bits", c_int64), ("tiles", c_int64), ("groups", c_int64),
    )  # fmt: skip


class NormWeights(Structure):
    _fields_ = (("weight", c_void_p), ("bias", c_void_p))


class LayerWeights(Structure):
    _fields_ = (
        ("qkv", Matrix), ("output", Matrix), ("up", Matrix), ("down", Matrix),
        ("before", NormWeights), ("after", NormWeights), ("mlp_before", NormWeights), ("mlp_after", NormWeights),
        ("query_norm", c_void_p), ("key_norm", c_void_p), ("sinks", c_void_p), ("rope", c_int64), ("window", c_int64),
        ("expert_up", POINTER(Matrix)), ("expert_down", POINTER(Matrix)),
        ("router", c_void_p), ("router_bias", c_void_p),
    )  # fmt: skip


class RopeTable(Structure):
    _fields_ = (("short", c_void_p), ("long", c_void_p), ("amplitude", c_void_p), ("axes", c_void_p))


class ModelWeights(Structure):
    _fields_ = (
        ("table", Matrix), ("head", Matrix), ("layers", POINTER(LayerWeights)), ("final", NormWeights),
        ("ropes", POINTER(RopeTable)), ("positions", c_void_p),
        *((name, c_int64) for name in (
            "layer_count", "rope_count", "channels", "heads", "groups", "head_dim", "inner", "vocabulary", "norm",
            "gated", "activation", "whole_norm", "experts", "used", "normalised",
        )),
        *((name, c_float) for name in (
            "epsilon", "attention_scale", "attention_cap", "logit_cap", "embedding_scale", "residual_scale",
            "logit_scale",
        )),
    )  # fmt: skip


class NarrowPart(Structure):
    _fields_ = (("tile", c_int64), ("tiles", c_int64), ("begin", c_int64), ("rank", c_int64), ("out", c_void_p))


class Narrow(Structure):
    _fields_ = (
        ("going_in", c_void_p), ("scale", c_void_p), ("rank", c_int64), ("part_count", c_int64),
        ("parts", NarrowPart * 3),
    )  # fmt: skip


class CacheRows(Structure):
    _fields_ = (
        ("keys", c_void_p), ("values", c_void_p), ("capacity", c_int64), ("long", c_int64), ("adapter", c_void_p),
    )  # fmt: skip


class StepJob(Structure):
    _fields_ = (
        ("model", POINTER(ModelWeights)), ("tokens", c_void_p), ("positions", c_void_p), ("seen", c_void_p),
        ("places", c_void_p), ("owners", c_void_p), ("wanted", c_void_p), ("caches", POINTER(CacheRows)),
        ("vectors", c_void_p), ("logits", c_void_p), ("rows", c_int64), ("wanted_count", c_int64),
        ("scratch", c_void_p), ("longest", c_int64), ("narrow", c_int64),
    )  # fmt: skip


class Team(Structure):
    _fields_ = (
        ("gate", c_uint64), ("apart", c_uint64 * 7), ("closed", c_uint32), ("asleep", c_uint32),
        ("threads", c_int32), ("phase_count", c_int32), ("job", StepJob), ("phases", c_void_p),
    )  # fmt: skip


class Kernels:
    """The library, and the kernel of it that is used: ``number`` among those compiled, by ``name``."""

    def __init__(self, library: CDLL, name: str, number: int) -> None:
        self.name, self.number = name, number
        team = POINTER(Team)
        self.room = _function(library, "awsllm_room", c_int64, c_int32, POINTER(StepJob), c_int32)
        self.phases = _function(library, "awsllm_phases", c_int32, c_int64)
        self.open = _function(library, "awsllm_open", c_uint32, team)
        self.lead = _function(library, "awsllm_lead", None, team, c_int32)
        self.help = _function(library, "awsllm_help", c_int32, team, c_int32, c_int32, c_int64)
        self.wake = _function(library, "awsllm_wake", None, team)
        self.close = _function(library, "awsllm_close", None, team)


def _function(library: CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    function = library[name]
    function.restype, function.argtypes = result, arguments
    return function


class Built(NamedTuple):
    """What there is of the library on this machine: the kernels that its processor can run, each with its number, the
    fastest first. Where there are none, ``why`` says the reason."""

    library: CDLL | None
    names: tuple[tuple[int, str], ...] = ()
    why: str = ""


def kernels() -> Kernels | None:
    """The fastest kernel that this processor can run, or the one that ``AWSLLM_KERNEL`` names; None where there is
    none. Raises ``KernelChoiceError`` for a name that cannot be had."""
    return _kernels(os.environ.get(CHOICE, ""))


class KernelChoiceError(ValueError):
    """``AWSLLM_KERNEL`` names what cannot be had here."""


@cache
def _kernels(wanted: str) -> Kernels | None:
    library, names, why = built()
    if wanted == "none":
        return None
    for number, name in names:
        if library is not None and wanted in ("", name):
            return Kernels(library, name, number)
    if wanted:
        possible = ", ".join([*(name for _, name in names), "none"])
        raise KernelChoiceError(f"{CHOICE} is {wanted!r}; here it can be {possible}{why and f', for {why}'}")
    return None


@cache
def built() -> Built:
    if not PATH.exists():
        return Built(None, why="this installation has no library for this machine")
    try:
        library = CDLL(str(PATH))
        if _function(library, "awsllm_layout", c_int32)() != LAYOUT:
            return Built(None, why="the library is another version's")
        known = tuple(_known(library))
    except (OSError, AttributeError):
        return Built(None, why="the library cannot be loaded")
    names = tuple((number, name) for number, name, runs in known if runs)
    needed = " or ".join(name for _, name, _ in known)
    return Built(library, names, "" if names else f"the processor does not have what they need, {needed}")


def is_stale() -> bool:
    """Whether the library is older than its source, where that lies beside it."""
    built_at = PATH.stat().st_mtime
    return any(file.stat().st_mtime > built_at for file in (PATH.parent / "source").glob("*.[ch]"))


def _known(library: CDLL) -> Iterator[tuple[int, str, bool]]:
    """Each kernel of the library: its number, its name, and whether this processor can run it."""
    name = _function(library, "awsllm_kernel", c_char_p, c_int32)
    runs = _function(library, "awsllm_runs", c_int32, c_int32)
    number = 0
    while (at := name(number)) is not None:
        yield number, at.decode(), bool(runs(number))
        number += 1

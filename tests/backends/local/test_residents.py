"""Which models are in memory, where only so many may be."""

from __future__ import annotations

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from awsllm.backends.local import residents as module
from awsllm.backends.local.residents import Footprint, Residents, memory_here
from awsllm.errors import ConfigurationError, ModelNotReadyError


class Model:
    pass


def get(residents: Residents[Model], name: str, size: int = 10) -> Model:
    return residents.get(name, name, lambda: Footprint(size), Model)


def names(residents: Residents[Model]) -> list[str]:
    return [one.name for one in residents.held()]


def test_without_a_bound_all_stay() -> None:
    residents: Residents[Model] = Residents()
    found = [get(residents, name) for name in "abc"]
    assert [get(residents, name) for name in "abc"] == found
    assert len(names(residents)) == 3


def test_the_one_used_longest_ago_goes_and_is_freed() -> None:
    residents: Residents[Model] = Residents(most=2)
    first = weakref.ref(get(residents, "a"))
    get(residents, "b")
    with residents.lease("a"):
        get(residents, "a")
    get(residents, "c")
    assert sorted(names(residents)) == ["a", "c"]
    with residents.lease("c"):
        get(residents, "d")
    gc.collect()
    assert first() is None
    assert sorted(names(residents)) == ["c", "d"]


def test_memory_is_bounded() -> None:
    residents: Residents[Model] = Residents(memory=25)
    for name in "abc":
        get(residents, name)
    assert sorted(names(residents)) == ["b", "c"]
    get(residents, "large", 25)
    assert names(residents) == ["large"]
    with pytest.raises(ConfigurationError, match="more than"):
        get(residents, "larger", 26)
    assert names(residents) == ["large"]


def test_adapters_of_one_base_count_it_once() -> None:
    residents: Residents[Model] = Residents(most=2, memory=26)

    def beside(name: str, base: str, own: int) -> None:
        residents.get(name, name, lambda: Footprint(8, 2, base, own), Model)

    for name in "bcd":
        beside(name, "a", 3)
    beside("a", "a", 0)
    assert len(names(residents)) == 4  # 10 of the base, and three times 3
    beside("e", "a", 8)
    assert sorted(names(residents)) == ["a", "c", "d", "e"]  # 10 + 3 + 3 + 8
    get(residents, "y", 2)
    get(residents, "z", 1)  # a third model: all of one base go, who were used before
    assert sorted(names(residents)) == ["y", "z"]


def test_what_is_used_stays_and_the_newcomer_is_not_ready() -> None:
    residents: Residents[Model] = Residents(most=1, patience=0.01)
    with residents.lease("a"):
        model = get(residents, "a")
        with residents.lease("b"), pytest.raises(ModelNotReadyError, match="in use") as refused:
            get(residents, "b")
        assert (refused.value.status, refused.value.retryable) == (429, True)
        assert get(residents, "a") is model
        assert [one.in_flight for one in residents.held()] == [1]
    get(residents, "b")
    assert names(residents) == ["b"]


def test_the_newcomer_waits_for_room() -> None:
    residents: Residents[Model] = Residents(most=1, patience=60)
    holding, waiting = threading.Event(), threading.Event()

    def hold() -> None:
        with residents.lease("a"):
            get(residents, "a")
            holding.set()
            waiting.wait(60)

    def size() -> Footprint:
        waiting.set()  # from here on it waits, or finds room
        return Footprint(10)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(hold)
        assert holding.wait(60)
        threads.submit(residents.get, "b", "b", size, Model).result(60)
        first.result(60)
    assert names(residents) == ["b"]


def test_many_who_come_at_once_load_it_once() -> None:
    residents: Residents[Model] = Residents(most=1)
    loads: list[int] = []
    begun = threading.Barrier(4)

    def load() -> Model:
        loads.append(1)
        return Model()

    def ask(_: int) -> Model:
        begun.wait(60)
        return residents.get("a", "a", lambda: Footprint(1), load)

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(ask, range(4)))) == 1
    assert len(loads) == 1


def test_one_that_cannot_be_loaded_takes_no_room() -> None:
    residents: Residents[Model] = Residents(most=1)

    def broken() -> Model:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        residents.get("a", "a", lambda: Footprint(1), broken)
    get(residents, "b")
    assert names(residents) == ["b"]


def test_a_model_is_let_go_by_name() -> None:
    residents: Residents[Model] = Residents()
    get(residents, "a")
    assert residents.unload("a")
    assert not residents.unload("a")
    get(residents, "a")
    residents.clear()
    assert residents.held() == []


@pytest.mark.parametrize(("most", "memory"), [(0, None), (None, 0)])
def test_no_room_at_all_is_no_bound(most: int | None, memory: int | None) -> None:
    with pytest.raises(ConfigurationError, match="room for at least one"):
        Residents(most, memory)


def test_conversations_may_take_a_quarter_and_what_the_files_leave() -> None:
    residents: Residents[Model] = Residents(memory=1000)
    assert [residents.conversations(size) for size in (0, 100, 750, 900, 1000, 2000)] == [250, 250, 250, 100, 0, 0]
    assert Residents[Model]().conversations(100) == memory_here() // 4


def test_what_conversations_may_take_is_counted_and_settled_once_it_is_known() -> None:
    residents: Residents[Model] = Residents(memory=100)
    residents.settle("a", 1)  # it is not there
    residents.get("a", "a", lambda: Footprint(40, 30), Model)
    get(residents, "b", 60)
    assert names(residents) == ["b"]
    residents.get("a", "a", lambda: Footprint(40, 30), Model)
    residents.settle("a", 0)
    get(residents, "b", 60)
    assert sorted(names(residents)) == ["a", "b"]
    with pytest.raises(ConfigurationError, match="more than"):
        residents.get("c", "c", lambda: Footprint(60, 50), Model)


@pytest.mark.parametrize(("told", "less"), [("1000000\n", True), ("max\n", False), (f"{2**62}\n", False)])
def test_a_container_has_less_memory_than_its_machine(
    told: str, less: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CGROUP", tmp_path / "none")
    machine = memory_here()
    assert machine > 10**8
    monkeypatch.setattr(module, "_CGROUP", tmp_path / "memory.max")
    (tmp_path / "memory.max").write_text(told)
    assert memory_here() == (10**6 if less else machine)

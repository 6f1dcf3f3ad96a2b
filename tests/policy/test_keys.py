"""The file of keys: what is written is read, what is wrong is said, and no secret stands in it."""

from __future__ import annotations

import hashlib
import stat
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awsllm.errors import ConfigurationError
from awsllm.policy.keys import Keys, create, read_keys, revoked, stopped, write_keys


def test_a_key_goes_through_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    expires = datetime(2030, 1, 1, tzinfo=UTC)
    key, secret = create(
        name='the "search" team',
        expires=expires,
        models=("anthropic.*",),
        requests_per_minute=60,
        monthly_dollars=12.5,
    )
    other, signing = create(signs=True)
    write_keys(path, [key, other])
    found = read_keys(path)
    assert list(found) == [key, other]
    assert (found.shown(secret), found.shown("another"), found.shown("")) == (key, None, None)
    assert (found.signing(other.id), found.signing(key.id), found.signing("none")) == (other, None, None)
    assert secret not in path.read_text()
    assert signing in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["keys.toml"]
    assert secret not in repr(key)
    assert signing not in repr(other)


def test_a_key_ends(tmp_path: Path) -> None:
    key, _ = create(expires=datetime(2030, 1, 1))  # noqa: DTZ001 -- without a zone it is UTC
    end = datetime(2030, 1, 1, tzinfo=UTC).timestamp()
    assert key.is_valid(end - 1)
    assert not key.is_valid(end)
    keys = revoked(Keys([key]), key.id)
    assert not keys.by_id[key.id].is_valid(0)
    with pytest.raises(ConfigurationError, match="no key 'other'"):
        revoked(keys, "other")


def test_a_key_or_everybody_is_stopped_in_the_file(tmp_path: Path) -> None:
    path, (key, _) = tmp_path / "keys.toml", create(team="search")
    write_keys(path, stopped(Keys([key]), None, True))
    found = read_keys(path)
    assert found.stopped
    write_keys(path, revoked(stopped(found, key.id, True), key.id))
    again = read_keys(path)
    assert again.stopped
    assert (again.by_id[key.id].stopped, again.by_id[key.id].team) == (True, "search")
    write_keys(path, stopped(again, None, False))
    assert not read_keys(path).stopped
    path.write_text("stopped = 1")
    with pytest.raises(ConfigurationError, match="true or false"):
        read_keys(path)


def test_a_key_allows_its_models() -> None:
    key, _ = create(models=("anthropic.*", "my-alias"))
    assert key.is_limited
    assert key.allows("us.anthropic.claude-3-haiku-20240307-v1:0")
    assert key.allows("my-alias")
    assert not key.allows("amazon.nova-pro-v1:0")
    assert create()[0].allows("anything")


DIGEST = hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("keys = 1", r"a key begins with a line \[\[keys\]\]"),
        ("[[keys]", "no TOML.*line 1"),
        ("keyz = 1", "keyz"),
        ('[[keys]]\nid = "abcd"', "key 1 .abcd.: .*sha256"),
        (f'[[keys]]\nid = "a b"\nsha256 = "{DIGEST}"', "key 1"),
        (f'[[keys]]\nid = "abcd"\nsha256 = "{DIGEST}"\nlimit = 3', "limit"),
        (f'[[keys]]\nid = "abcd"\nsha256 = "{DIGEST}"\nrequests_per_minute = 0', "requests_per_minute"),
        (f'[[keys]]\nid = "abcd"\nsha256 = "{DIGEST}"\nsecret = "y"', "not that of its secret"),
        (f'[[keys]]\nid = "abcd"\nsha256 = "{DIGEST}"\n' * 2, "two keys have the id"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        read_keys(path)


def test_a_day_is_its_beginning(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'[[keys]]\nid = "abcd"\nsha256 = "{DIGEST}"\nexpires = 2030-01-01\n')
    (key,) = read_keys(path)
    assert key.expires == datetime(2030, 1, 1, tzinfo=UTC)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_any_name_is_written_as_toml(name: str) -> None:
    from awsllm.policy.keys import _toml

    assert tomllib.loads(f"name = {_toml(name)}") == {"name": name}


@pytest.mark.parametrize("member", [{"requests_per_minute": 0}, {"monthly_dollars": -1.0}])
def test_no_key_is_made_that_could_not_be_read(member: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="no such key can be made"):
        create(**member)

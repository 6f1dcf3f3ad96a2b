"""Which servers run on this machine, for the commands that want to reach one (``awsllm env``, ``awsllm ps``).

Each leaves a file of its own in the cache directory, readable by its owner alone, and takes it away at its end. One
that was killed leaves it behind: a file whose process is gone counts for nothing and is removed.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from awsllm.store import default_cache_dir

_FOLDER = "servers"


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs. ``authority`` is the certificate that its clients have to trust, ``key_needed`` says whether
    they need an API key, ``gated`` whether each of them has one of its own (``--keys``), ``admin_token`` opens its
    administration."""

    url: str
    pid: int = msgspec.field(default_factory=os.getpid)
    region: str = "us-east-1"
    authority: str | None = None
    key_needed: bool = False
    gated: bool = False
    admin_token: str | None = None


def environment(
    url: str,
    *,
    key: str = "awsllm",
    access_key_id: str = "awsllm",
    region: str = "us-east-1",
    authority: str | None = None,
) -> dict[str, str]:
    """The variables that point clients of AWS, OpenAI and Anthropic at a server. ``authority`` is the file of a
    certificate to trust, for those that read a variable of their own: what OpenSSL reads would hide all others.

    What the environment says already and would keep a client from the server is said anew: a service's own endpoint
    goes before the one of all, an endpoint of one's own has no FIPS, and where both are set Python's clients read
    ``no_proxy`` and not ``NO_PROXY``."""
    own = {name: url for name in os.environ if name.startswith("AWS_ENDPOINT_URL_")}
    found = {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": key,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_USE_FIPS_ENDPOINT": "false",
        "AWS_USE_DUALSTACK_ENDPOINT": "false",
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false",
        "AWS_BEDROCK_RUNTIME_ENDPOINT": url,  # litellm's name
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": key,
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": key,
        "ANTHROPIC_BEDROCK_BASE_URL": url,
        **_no_proxy(url),
    }
    return found | own | (dict.fromkeys(("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"), authority) if authority else {})


def _no_proxy(url: str) -> dict[str, str]:
    """The hosts that no proxy is asked for: this machine's and the server's, and those that were none before."""
    wanted = ["127.0.0.1", "localhost", "::1", urlsplit(url).hostname or ""]
    names = [name for name in ("NO_PROXY", "no_proxy") if name == "NO_PROXY" or name in os.environ]
    if "*" in (os.environ.get(name, "").strip() for name in names):  # which means all where it stands alone
        return dict.fromkeys(names, "*")
    before = [host.strip() for name in ("NO_PROXY", "no_proxy") for host in os.environ.get(name, "").split(",")]
    return dict.fromkeys(names, ",".join(dict.fromkeys(host for host in (*before, *wanted) if host)))


@contextlib.contextmanager
def registered(instance: Instance, directory: Path | None = None) -> Iterator[None]:
    """``instance`` can be found while the block lasts. A cache that cannot be written keeps no server from running."""
    place = directory or default_cache_dir() / _FOLDER
    file = place / f"{instance.pid}-{instance.url.rpartition(':')[2]}.json"
    with contextlib.suppress(OSError):
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(dir=place, prefix=".")  # mode 600
        with os.fdopen(handle, "wb") as written:
            written.write(msgspec.json.encode(instance))
        Path(name).replace(file)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def instances(directory: Path | None = None) -> list[Instance]:
    """The servers that run, the one that was started last first."""
    place = directory or default_cache_dir() / _FOLDER
    found = []
    with contextlib.suppress(OSError):
        for file in sorted(place.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            with contextlib.suppress(OSError, ValueError):
                instance = msgspec.json.decode(file.read_bytes(), type=Instance)
                if _runs(instance.pid):
                    found.append(instance)
                else:
                    file.unlink(missing_ok=True)
    return found


def _runs(pid: int) -> bool:
    if os.name == "nt":  # there the signal 0 ends a process; a stale file is a smaller harm
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:
        return False
    except PermissionError:
        pass
    return True

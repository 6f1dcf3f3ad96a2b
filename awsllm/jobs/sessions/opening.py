"""Which training session is meant, and where it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from awsllm.errors import ConfigurationError
from awsllm.jobs.sessions.session import SessionPlace, TrainingSession
from awsllm.models.references import parse_reference

if TYPE_CHECKING:
    from awsllm.aws.session import AwsSession
    from awsllm.store import Store


_OF_LOCAL = frozenset(("rank", "alpha", "seed"))


def open_session(
    base: str, options: Mapping[str, Any], store: Store | None, session: Callable[[], AwsSession]
) -> TrainingSession:
    """``base`` is ``local:NAME``, or the ARN of a model of SageMaker's hub."""
    if base.startswith("local:"):
        return TrainingSession(_local(base, options, store))
    return TrainingSession(_remote(base, options, session))


def _local(base: str, options: Mapping[str, Any], store: Store | None) -> SessionPlace:
    if odd := options.keys() - _OF_LOCAL:
        raise ConfigurationError(f"{min(odd)} is of SageMaker's sessions; one here has {', '.join(sorted(_OF_LOCAL))}")
    from awsllm.store import Store

    try:
        from awsllm.engine.train.lora import Lora
        from awsllm.jobs.sessions.local import LocalSession
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"training needs {error.name}: pip install 'awsllm[local]'") from error
    path = (store or Store()).path(parse_reference(base).model)
    try:
        adapter = Lora(rank=options.get("rank", 16), alpha=options.get("alpha", 32))
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    return LocalSession(path, adapter, seed=options.get("seed", 0))


def _remote(base: str, options: Mapping[str, Any], session: Callable[[], AwsSession]) -> SessionPlace:
    from awsllm.jobs.sessions.remote import RemoteSession, checked_plan

    given = dict(options)
    tokenizer, running = given.pop("tokenizer", None), given.pop("session", None)
    tokens = None
    if tokenizer is not None:
        try:
            from awsllm.jobs.sessions.tokens import ModelTokens
        except ModuleNotFoundError as error:
            raise ConfigurationError(
                f"conversations become tokens here, which needs {error.name}: pip install 'awsllm[local]', or give "
                "tokens of your own and no tokenizer"
            ) from error

        tokens = ModelTokens.of(Path(tokenizer))
    if running is not None:
        found = RemoteSession(session(), running, owned=False, tokens=tokens)
        found.wait()
        return found
    if not base.startswith("arn:"):
        raise ConfigurationError(f"{base!r:.80} is no base of a session: give local:NAME, or the ARN of a hub's model")
    given.pop("seed", None)
    return RemoteSession.start(session(), checked_plan(base, given), tokens=tokens)

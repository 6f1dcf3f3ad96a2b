"""What only Bedrock's control plane knows: which model an ARN is, and which models an account has.

Both can be done without. A call goes out whether or not its model could be looked up, and a list that may not be read
is a warning on the result: many roles may invoke models and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from awsllm.aws import control
from awsllm.aws.session import AwsSession
from awsllm.errors import AccessDeniedError, AwsllmError, ConfigurationError, ConnectError, ValidationError
from awsllm.models.listing import KINDS, LISTINGS, AccountModel, AccountModels, Listing, ModelFilters, selected
from awsllm.models.opaque import question, read

# A deployment of a custom model of a foundation model is two questions; more is a circle.
_MOST_QUESTIONS = 4


def resolve(session: AwsSession, arn: str) -> tuple[str | None, str | None]:
    """The family of the model behind an opaque ARN (see ``opaque.Finding``), or None and a warning that says why it is
    not known. Never raises: a call can be made without."""
    name, problem = arn, "no model is named there"
    for _ in range(_MOST_QUESTIONS):
        query = question(name)
        try:
            with control.translated():
                reply = getattr(control.brief(query.service, session), query.operation)(**query.parameters)
        except AwsllmError as error:
            denied = isinstance(error, AccessDeniedError)
            action = f"{query.service.replace('-agent', '')}:{_pascal(query.operation)}"
            problem = f"{action} is not allowed" if denied else f"{action} failed ({type(error).__name__})"
            break
        except NotImplementedError:  # a mocked account without this part of Bedrock
            return None, None
        except Exception as error:  # botocore refuses an ARN that its pattern does not allow
            problem = type(error).__name__
            break
        found = read(name, reply)
        if found.family:
            return found.family, None
        if not found.next:
            break
        name = found.next
    return None, (
        f"which model {arn} is could not be found out: {problem}. It was called without knowing what it can do; "
        "say it with family=, or allow the look-up"
    )


def list_models(session: AwsSession, filters: ModelFilters) -> AccountModels:
    """The models of the session's account and region. Raises what went wrong where no list at all could be read, save
    for want of permission."""
    if unknown := filters.keys() - ModelFilters.__annotations__.keys():
        known = ", ".join(ModelFilters.__annotations__)
        raise ValidationError(f"unknown filter {min(unknown)!r}; known are {known}")
    kind = filters.get("kind")
    if kind is not None and kind not in KINDS:
        raise ValidationError(f"unknown kind {kind!r}; known are {', '.join(KINDS)}")
    with control.translated():
        client = control.client("bedrock", session)
    models: list[AccountModel] = []
    warnings: list[str] = []
    failures: list[AwsllmError] = []
    for of_kind, listing in zip(KINDS, LISTINGS, strict=True):
        if kind not in (None, of_kind):
            continue
        try:
            with control.translated():
                models += [listing.read(item, session.region) for item in _items(client, listing)]
        except (ConfigurationError, ConnectError):  # as the next lists would fare
            raise
        except AwsllmError as error:
            failures.append(error)
            what = f"{listing.action} is not allowed" if isinstance(error, AccessDeniedError) else str(error)
            warnings.append(f"models of the kind {of_kind} are missing: {what}")
        except NotImplementedError:  # a mocked account
            warnings.append(f"models of the kind {of_kind} are missing: {listing.action} is not mocked")
    is_none_read = len(failures) == (len(KINDS) if kind is None else 1)
    if is_none_read and not any(isinstance(error, AccessDeniedError) for error in failures):
        raise failures[0]
    return AccountModels(selected(models, filters), tuple(warnings))


def _items(client: Any, listing: Listing) -> Iterator[Any]:
    if not client.can_paginate(listing.operation):
        yield from getattr(client, listing.operation)(**listing.parameters)[listing.member]
        return
    for page in client.get_paginator(listing.operation).paginate(**listing.parameters):
        yield from page.get(listing.member, ())


def _pascal(operation: str) -> str:
    return "".join(word.capitalize() for word in operation.split("_"))

"""What handlers read from the environment: one table of all variables, with their meaning.

Templates set these names, handlers read them while Lambda initialises the function, and whatever is wrong is a
``ConfigurationError`` that names the variable and its fix: the first log line then says why a deployment cannot answer.
A variable that is empty counts as not set, as a template's empty parameter leaves it. In brackets: the default. The
keys of tables are texts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, cast

import msgspec

from awsllm.errors import AwsllmError, ConfigurationError
from awsllm.models.references import Reference, parse_reference
from awsllm.types import GuardrailConfig, JsonObject, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from awsllm.calls.options import ConverseOptions
    from awsllm.policy.groups import Group


class Variable(Value, frozen=True):
    """``kind`` is how the text reads: text, whole, decimal, names (``a,b``), mapping (``name=value,…`` or JSON), json,
    one of several words (``a|b``). ``default`` is a text as the environment would have it, empty for none."""

    name: str
    kind: str
    meaning: str
    default: str = ""

    def __str__(self) -> str:
        """As a line of the table: the name, what it means, and what it is unless it is set."""
        words = f" ({self.kind})" if "|" in self.kind else ""
        default = f" [{self.default}]" if self.default else ""
        return f"{self.name:<24}  {self.meaning}{words}{default}"


VARIABLES = (
    Variable(
        "AWSLLM_MODEL", "text", "the model that answers: a reference such as bedrock:amazon.nova-lite-v1:0, or a name"
    ),
    Variable("AWSLLM_SYSTEM", "text", "the system prompt"),
    Variable("AWSLLM_MAX_TOKENS", "whole", "the most tokens of an answer; callers may ask for fewer", "1024"),
    Variable("AWSLLM_TEMPERATURE", "decimal", "0 to 1; unset is the model's own default"),
    Variable("AWSLLM_GUARDRAIL", "text", "the guardrail that reads along: ID:VERSION"),
    Variable("AWSLLM_SESSIONS_TABLE", "text", "the DynamoDB table of conversations (key id, TTL expires)"),
    Variable("AWSLLM_SESSION_DAYS", "whole", "after how many days without a turn a conversation is deleted", "30"),
    Variable("AWSLLM_CORS_ORIGINS", "names", "the web origins that may call, or *; unset: none"),
    Variable("AWSLLM_MAX_BODY_BYTES", "whole", "the largest request body", "6291456"),
    Variable("AWSLLM_KEYS_TABLE", "text", "the DynamoDB table of the gateway's keys (key id, TTL expires)"),
    Variable("AWSLLM_USAGE_TABLE", "text", "the DynamoDB table of what keys use (keys id, period; TTL expires)"),
    Variable(
        "AWSLLM_GATEWAY_MODELS", "mapping", "the models that callers may name: NAME=REFERENCE or NAME=NAME,… or JSON"
    ),
    Variable("AWSLLM_KILL_SWITCH", "text", "1: the gateway refuses every call"),
    Variable("AWSLLM_CALLER_ROLE", "text", "the role that is assumed with the caller as session tags"),
    Variable(
        "AWSLLM_IDEMPOTENCY_TABLE", "text", "the DynamoDB table of what has been worked on (key id, TTL expiration)"
    ),
    Variable("AWSLLM_TASK", "summarise|classify|extract|embed", "what is done with a document"),
    Variable("AWSLLM_LABELS", "names", "the labels to choose from (classify)"),
    Variable("AWSLLM_SCHEMA", "json", "the JSON schema of what is found (extract)"),
    Variable("AWSLLM_OUTPUT_BUCKET", "text", "where results are written; unset: beside what they are of"),
    Variable("AWSLLM_OUTPUT_PREFIX", "text", "what the keys of results begin with"),
    Variable("AWSLLM_MAX_OBJECT_BYTES", "whole", "the largest object that is read", "26214400"),
    Variable("AWSLLM_RESULT_QUEUE", "text", "the URL of the queue that is told of results"),
    Variable("AWSLLM_RETRY_RECORDS", "passing|all", "which records of a batch job are written out to be tried again"),
    Variable("AWSLLM_FORMAT", "text", "what an asynchronous endpoint's container speaks: openai, tgi, …"),
    Variable("AWSLLM_GRADER", "json", 'how answers are graded: {"exact": {}} or {"judge": {"rubric": "…"}}, …'),
    Variable(
        "AWSLLM_TELEMETRY", "text", "what is told of calls: emf (CloudWatch metrics), log, otel; with commas between"
    ),
    Variable("AWSLLM_LOG_LEVEL", "DEBUG|INFO|WARNING|ERROR", "the least important line that is logged", "INFO"),
)
_TABLE = {variable.name: variable for variable in VARIABLES}
__doc__ = f"{__doc__}\n" + "".join(f"    {variable}\n" for variable in VARIABLES)  # what ``help`` shows


def text(name: str) -> str | None:
    """The variable's text, its default, or None."""
    return os.environ.get(name, "").strip() or _TABLE[name].default or None


def required(name: str) -> str:
    """The same of a variable that the handler cannot do without."""
    found = text(name)
    if found is None:
        raise ConfigurationError(f"{name} is not set: give the function {_TABLE[name].meaning}")
    return found


def whole(name: str) -> int | None:
    """A whole number above zero."""
    found = text(name)
    if found is None:
        return None
    if not (found.isascii() and found.isdigit() and int(found) > 0):
        raise _wrong(name, found, "it is a whole number above zero")
    return int(found)


def decimal(name: str) -> float | None:
    """A number from 0 to 1."""
    found = text(name)
    if found is None:
        return None
    try:
        number = float(found)
    except ValueError as error:
        raise _wrong(name, found, "it is a number from 0 to 1") from error
    if not 0 <= number <= 1:
        raise _wrong(name, found, "it is a number from 0 to 1")
    return number


def choice(name: str) -> str | None:
    """One of the words of the variable's kind."""
    found, words = text(name), _TABLE[name].kind.split("|")
    if found is not None and found not in words:
        raise _wrong(name, found, f"it is one of {', '.join(words)}")
    return found


def names(name: str) -> tuple[str, ...]:
    """What stands between commas."""
    return tuple(part.strip() for part in (text(name) or "").split(",") if part.strip())


def origins(name: str) -> tuple[str, ...]:
    """Web origins, or ``*``. One that no browser sends would allow nobody, without a word."""
    found = names(name)
    for origin in found:
        scheme, divider, host = origin.partition("://")
        if origin != "*" and not (
            scheme and divider and host and host == host.lower() and not set("/*?#@") & set(host)
        ):
            raise _wrong(
                name, origin, "an origin is as a browser sends it, such as https://shop.example, without a path"
            )
    return found


def mapping(name: str) -> dict[str, str]:
    """Texts by name, from ``name=text,…`` or a JSON object."""
    found = text(name)
    if found is None:
        return {}
    if found.startswith("{"):
        texts: dict[str, str] = _decoded(name, found, dict[str, str])
        return texts
    pairs = [part.partition("=") for part in names(name)]
    for key, equals, value in pairs:
        if not (key.strip() and equals and value.strip()):
            raise _wrong(name, found, "it is NAME=VALUE,NAME=VALUE or a JSON object of texts")
    return {key.strip(): value.strip() for key, _, value in pairs}


def json_object(name: str) -> JsonObject | None:
    found = text(name)
    return None if found is None else _decoded(name, found, JsonObject)


def model(given: str | None) -> str:
    """The model that answers: the one given, or the environment's; a reference, or a name of the awsllm.toml that is
    packaged with the function. Checked."""
    found = given or required("AWSLLM_MODEL")
    if found in configured_names():
        return found
    try:
        parse_reference(found)
    except ConfigurationError as error:
        raise ConfigurationError(f"{'model' if given else 'AWSLLM_MODEL'}: {error.message}") from error
    return found


def configured_names() -> Mapping[str, str | Group]:
    """What the function's awsllm.toml names; empty where there is none."""
    from awsllm.policy.configuration_file import configured

    found = configured(None)
    return {} if found is None else {**found.aliases, **found.groups}


def references(model: str) -> tuple[Reference, ...]:
    """All that may answer for a model, as ``model`` gives it."""
    meant = configured_names().get(model, model)
    return (parse_reference(meant),) if isinstance(meant, str) else tuple(one.reference for one in meant.members)


def given_client(client: Any) -> Any:
    """The client that is given, or one as the environment says."""
    if client is not None:
        return client
    from awsllm.client import Client

    return Client()


def call_options() -> ConverseOptions:
    """What the environment says of every call; a handler's own options go before it."""
    found: dict[str, Any] = {
        "system": text("AWSLLM_SYSTEM"),
        "max_tokens": whole("AWSLLM_MAX_TOKENS"),
        "temperature": decimal("AWSLLM_TEMPERATURE"),
        "guardrail_config": guardrail(),
    }
    return cast("ConverseOptions", {name: value for name, value in found.items() if value is not None})


def check_options(model: str, options: ConverseOptions) -> None:
    """Raises ``ConfigurationError`` for options that no call of the model would be made with: found while Lambda
    initialises the function, they are the deployment's fault, and at a call they would be told as the caller's."""
    from awsllm.calls.prepare import prepare
    from awsllm.models.knowledge import Knowledge

    refused: AwsllmError | None = None
    for reference in references(model):
        try:
            prepare(str(reference), "Hello", options, Knowledge())
        except AwsllmError as error:
            refused = refused or error
        else:
            return  # of a group, members that cannot are passed over
    if refused is not None:
        raise ConfigurationError(f"the handler's options do not fit its model: {refused.message}") from refused


def guardrail() -> GuardrailConfig | None:
    """``ID:VERSION`` or ``ARN:VERSION``."""
    found = text("AWSLLM_GUARDRAIL")
    if found is None:
        return None
    identifier, _, version = found.rpartition(":")
    if not identifier or not (version == "DRAFT" or version.isdigit()):
        raise _wrong("AWSLLM_GUARDRAIL", found, "it is ID:VERSION, as in abc123:1 or abc123:DRAFT")
    return GuardrailConfig(guardrail_identifier=identifier, guardrail_version=version)


def _decoded(name: str, found: str, kind: Any) -> Any:
    try:
        return msgspec.json.decode(found, type=kind)
    except msgspec.MsgspecError as error:
        raise _wrong(name, found, f"it is JSON that cannot be read: {error}") from error


def _wrong(name: str, found: str, fix: str) -> ConfigurationError:
    return ConfigurationError(f"{name} is {found!r:.60}: {fix}")

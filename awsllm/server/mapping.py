"""Which model answers: from the id that a caller names to a reference, by a table that whoever runs the server writes.

    meta.*                 = local:smollm2-135m-instruct
    us.amazon.nova-pro*    = bedrock:us.amazon.nova-pro-v1:0
    amazon.titan-embed-*   = bedrock:*          the model that the caller names
    anthropic.*            = bedrock:us.*       the same, by a geography's profile
    my-alias               = sagemaker:my-endpoint

The most specific pattern decides (``models.patterns``).
What no pattern means is answered if Bedrock knows the id: a chat by the chat model, an embedding by the embedding
model. ``strict`` leaves that out.

A caller chooses among the table's targets and nothing else: not the region, not the account, not a file. So a target
never takes the region that an ARN names, and a local model is called by its own name only if it is one of ``own``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from msgspec.structs import replace

from awsllm.errors import ConfigurationError, ModelNotFoundError
from awsllm.models.opaque import opaque_kind
from awsllm.models.patterns import closest, names
from awsllm.models.references import (
    SCHEMES,
    Reference,
    geography,
    is_bedrock_id,
    parse_reference,
    without_geography,
)
from awsllm.types import ConverseRequest, CountTokensRequest, Request

if TYPE_CHECKING:
    from awsllm.policy.groups import Group

Q = TypeVar("Q", bound=Request[Any])

_EMBED = frozenset(("embed", "rerank"))
_CHAT = frozenset(("converse", "count_tokens"))
_MADE = frozenset(("generate_image", "edit_image"))
_WRITTEN = ("summarization", "translation", "question_answering")
_SELF = "*"
GROUP = "group"
"""What stands in the place of a scheme where a group answers, between ``Models`` and ``places``."""


class Table:
    """Patterns and what answers them; ``strict``: nothing else is answered. ``groups`` are of those patterns behind
    which there are several models: of such the target is the first. Never changes."""

    def __init__(
        self, targets: Mapping[str, Reference], *, strict: bool = False, groups: Mapping[str, Group] | None = None
    ) -> None:
        self.targets = dict(targets)
        self.groups = dict(groups or {})
        self.strict = strict
        self.find = lru_cache(maxsize=1024)(self._find)
        self.meant = lru_cache(maxsize=1024)(self._meant)

    @classmethod
    def of(
        cls, entries: Mapping[str, str], *, strict: bool = False, names: Mapping[str, str | Group] | None = None
    ) -> Table:
        """The table of patterns and references as texts. ``names`` are those of a configuration: they can be called,
        and targets may be named by them. Raises ``ConfigurationError`` that names the entry."""
        known = names or {}
        meant: dict[str, str | Group] = {**known, **{one: known.get(to, to) for one, to in entries.items()}}
        groups: dict[str, Group] = {name: cast("Any", to) for name, to in meant.items() if hasattr(to, "members")}
        targets = {
            pattern: groups[pattern].members[0].reference if pattern in groups else _target(pattern, target)
            for pattern, target in meant.items()
        }
        return cls(targets, strict=strict, groups=groups)

    def reached(self) -> list[Reference]:
        """All that may be asked."""
        members = [member.reference for group in self.groups.values() for member in group.members]
        return [*(target for pattern, target in self.targets.items() if pattern not in self.groups), *members]

    def group(self, model: str) -> str | None:
        """The pattern of the group that answers ``model``; None where none does."""
        pattern = self.meant(model) if self.groups else None
        return pattern if pattern in self.groups else None

    def _meant(self, model: str) -> str | None:
        """The pattern that means ``model``. A ``*`` hands on the ARN of an account's own model to
        a pattern alone that begins as an ARN does: then the region and the account are whoever wrote it's to choose."""
        own = bedrock_id(model).startswith("arn:")
        usable = (
            one
            for one, target in self.targets.items()
            if not own or not target.model.endswith(_SELF) or one.startswith("arn:")
        )
        return closest(usable, model)

    def _find(self, model: str) -> Reference | None:
        """What answers ``model``; None where no pattern means it."""
        pattern = self.meant(model)
        if pattern is None:
            return None
        called = bedrock_id(model)
        own = called.startswith("arn:")
        target = self.targets[pattern]
        if not target.model.endswith(_SELF):
            return target
        place = target.model.removesuffix(_SELF)
        if place and not own:
            called = place + without_geography(called)
        return parse_reference(f"{target.scheme}:{called}") if own else Reference(target.scheme, called)

    @property
    def aliases(self) -> list[str]:
        """The names that stand in the table whole."""
        return [pattern for pattern in self.targets if "*" not in pattern]


def read_table(
    path: Path, entries: Mapping[str, str], *, strict: bool = False, names: Mapping[str, str | Group] | None = None
) -> Table:
    """The table of a TOML file, with further entries that replace the file's:

        strict = true
        [models]
        "anthropic.*" = "local:smollm2-135m-instruct"

    Raises ``ConfigurationError`` and ``OSError``."""
    import tomllib

    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is no TOML: {error}") from error
    if unknown := document.keys() - {"models", "strict"}:
        raise ConfigurationError(f"{path} has {min(unknown)!r}; there are strict and the table [models]")
    models, said = document.get("models", {}), document.get("strict", False)
    if not isinstance(models, dict) or not isinstance(said, bool):
        raise ConfigurationError(f"{path}: strict is true or false, and [models] a table of PATTERN = REFERENCE")
    try:
        return Table.of({**models, **entries}, strict=strict or said, names=names)
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error.message}") from error


def entry_of(text: str) -> tuple[str, str]:
    """``PATTERN=REFERENCE``. Raises ``ConfigurationError``."""
    pattern, equals, target = (part.strip() for part in text.partition("="))
    if not equals or not pattern or not target:
        raise ConfigurationError(f"{text!r} maps nothing: write PATTERN=REFERENCE, as in 'anthropic.*=local:NAME'")
    return pattern, target


def _target(pattern: str, target: Any) -> Reference:
    if not pattern.strip() or not pattern.isprintable():
        raise ConfigurationError(f"{pattern!r} is no pattern of model ids")
    try:
        reference = parse_reference(target)
    except ConfigurationError as error:
        raise ConfigurationError(f"the target of {pattern!r}: {error.message}") from error
    head, star, rest = reference.model.partition(_SELF)
    elsewhere = head and (reference.scheme != "bedrock" or geography(f"{head}x") is None)
    if star and (rest or elsewhere or reference.scheme == "local"):
        raise ConfigurationError(
            f"the target of {pattern!r} is {target!r}: name one model, or for the one that the caller names bedrock:*, "
            "bedrock:us.* (in another geography, that) or sagemaker:*"
        )
    return reference


@lru_cache(maxsize=1024)
def bedrock_id(model: str) -> str:
    """A caller's id as Bedrock knows it: what the ARN of a model of AWS's own names, without its region and account;
    for a provider's own name the id that the catalogue has, the newest of several."""
    if model.startswith("arn:"):
        return next(iter(names(model)[1:2]), model)
    owned = [name for name in names(model) if name != model and name.endswith(f".{model}")]
    if not owned or is_bedrock_id(model):
        return model
    from awsllm.models.entries import entries

    for start in names(model)[1:]:
        if found := [entry.id for entry in entries() if entry.id.startswith(start)]:
            return max(found)
    return model


def generator_id(generator: str) -> str:
    """The id of the model that writes an answer from a knowledge base, which may be given by its ARN."""
    return generator.rpartition("/")[2]


class Models:
    """What the backend knows its models by. ``chat`` and ``embed`` answer what the table does not mean; None passes the
    caller's own id on. ``own`` are the local models that may be called by their own names. ``routed``: the backend
    takes references (``server.places``). ``table`` may be what gives it, for one that changes while the server runs."""

    def __init__(
        self,
        chat: str | None = None,
        embed: str | None = None,
        *,
        table: Table | Callable[[], Table] | None = None,
        own: Iterable[str] = (),
        routed: bool = False,
    ) -> None:
        self.chat = chat
        self.embed = embed
        self.own = frozenset(own)
        self.routed = routed
        self.trained: dict[str, str] = {}
        """Paths of weights that the account has trained, by the ARNs by which they are called."""
        self._table = table or Table({})

    @property
    def table(self) -> Table:
        return self._table if isinstance(self._table, Table) else self._table()

    @property
    def strict(self) -> bool:
        return self.table.strict

    def knows(self, model: str) -> bool:
        """Whether the table means it, or it is a local model by its own name."""
        return self.table.find(model) is not None or self._own(model) is not None

    def refuses(self, model: str) -> bool:
        """Whether it is not to be answered, whatever Bedrock knows."""
        return self.strict and not self.knows(model)

    def target(self, request: Request[Any]) -> str | None:
        """What the backend is to be asked by; None: by the caller's own id."""
        use = _use(request)
        if use is None:
            return None
        if (path := self.trained.get(request.model)) is not None:
            return f"local:{path}" if self.routed else path
        found = self.table.find(request.model)
        if found is None and request.family is not None:  # of an account's own ARN
            found = self.table.find(request.family)
        if found is not None:
            return str(found)
        return self._own(request.model) or {"chat": self.chat, "embed": self.embed}.get(use)

    def _group(self, request: Request[Any]) -> str | None:
        table, use = self.table, _use(request)
        if not table.groups or use is None:
            return None
        found = table.group(request.model)
        if found is None and table.find(request.model) is None and request.family is not None:
            found = table.group(request.family)
        return found

    def answering(self, request: Request[Any]) -> tuple[str, ...]:
        """Whatever may answer: its target, or the members of its group."""
        group = self._group(request)
        if group is not None:
            return tuple(str(member.reference) for member in self.table.groups[group].members)
        target = self.target(request)
        return () if target is None else (target,)

    def remote(self, request: Request[Any]) -> bool:
        """Whether AWS itself answers."""
        return self.routed and _is_remote(self.target(request) or "")

    def targets(self) -> list[Reference]:
        """What may answer, if the backend takes references."""
        defaults = [parse_reference(model) for model in (self.chat, self.embed) if model is not None]
        return [*self.table.reached(), *defaults] if self.routed else []

    def listed(self) -> list[str]:
        """The names that can be called beside those that Bedrock knows: the table's, and those of local models."""
        targets = (str(reference) for reference in self.table.reached())
        local = [name for name in (*targets, self.chat or "", self.embed or "") if name.startswith("local:")]
        named = [name.removeprefix("local:") for name in local if "/" not in name and "\\" not in name]
        return list(dict.fromkeys((*self.table.aliases, *named, *sorted(self.own))))

    def rename(self, request: Q) -> Q:
        """``request`` with the backend's name of the model. Raises ``ModelNotFoundError`` for a reference that a caller
        wrote himself."""
        if opaque_kind(request.model) == "prompt":  # it has a model of its own, which is named when the prompt is read
            return request
        name = self.target(request)
        if name is not None:
            if (group := self._group(request)) is not None:
                return named(request, f"{GROUP}:{group}")
            meant = named(request, name)
            if isinstance(meant, ConverseRequest) and meant.family is None and not _is_remote(name):
                return replace(meant, family=request.model)  # its figures are of the model that was meant
            return meant
        if self.routed and request.model.partition(":")[0] in (*SCHEMES, GROUP):
            raise ModelNotFoundError("The provided model identifier is invalid.")
        return request

    def _own(self, model: str) -> str | None:
        name = model.removeprefix("local:")
        return f"local:{name}" if name in self.own else None


def _is_remote(reference: str) -> bool:
    return reference.startswith(("bedrock:", "sagemaker:"))


def named(request: Q, model: str) -> Q:
    """``request`` of ``model``."""
    if isinstance(request, CountTokensRequest):
        return replace(request, model=model, converse=replace(request.converse, model=model))
    return replace(request, model=model)


def _use(request: Request[Any]) -> str | None:
    """Which kind of model a request is for; None for what no model answers, as a knowledge base."""
    operation = type(request).operation
    if operation == "predict":  # what is written is the chat model's, anything else is told by vectors
        return "chat" if getattr(request, "task", None) in _WRITTEN else "embed"
    if operation in _CHAT:
        return "chat"
    return "embed" if operation in _EMBED else "made" if operation in _MADE else None

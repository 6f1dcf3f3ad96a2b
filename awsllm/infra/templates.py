"""The templates that awsllm comes with, and any other: found by name or path, read, described.

They stand in ``infra/NAME/template.yaml`` of a checkout and in ``awsllm/infra/templates/NAME/template.yaml`` of an
installed package. A template says of itself, under ``Metadata: awsllm:``, what its ``title`` and ``summary`` are, what
it costs while it idles (``idle_cost``, US dollars a month with source and date) and what it ``needs``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.infra.parameters import TemplateParameter
from awsllm.infra.template_text import read_document
from awsllm.types import JsonObject, Value

FILE = "template.yaml"
_PACKAGED = Path(__file__).parent / "templates"
_CHECKOUT = Path(__file__).parents[2] / "infra"


class CostItem(Value, frozen=True, kw_only=True):
    """One thing that costs while nobody uses the stack, US dollars a month; None where it depends."""

    what: str
    usd_per_month: float | None = None


class IdleCost(Value, frozen=True, kw_only=True):
    """What a stack costs while nobody uses it: US dollars a month, None where it is not known; what that is made of,
    and what ``notes`` add; where the prices are from, and of which day."""

    usd_per_month: float | None = None
    items: tuple[CostItem, ...] = ()
    notes: str = ""
    source: str = ""
    date: str = ""


class Template(Value, frozen=True, kw_only=True):
    """A CloudFormation template. ``name`` is awsllm's, or the file's; ``document`` its content in long forms; ``model``
    the parameters that say which model is meant, by what they take: id, arns, profile or profiles."""

    name: str
    path: str
    text: str
    document: JsonObject
    title: str = ""
    summary: str = ""
    idle_cost: IdleCost = IdleCost()
    needs: tuple[str, ...] = ()
    model: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def parameters(self) -> tuple[TemplateParameter, ...]:
        given = self.document.get("Parameters") or {}
        return tuple(TemplateParameter.read(name, member) for name, member in given.items())

    @property
    def resources(self) -> dict[str, JsonObject]:
        """Without loops that a macro unfolds (``Fn::ForEach``)."""
        return {name: one for name, one in (self.document.get("Resources") or {}).items() if isinstance(one, dict)}

    @property
    def handlers(self) -> tuple[str, ...]:
        """What Lambda calls in the functions whose code is a package."""
        functions = [one for one in self.resources.values() if one.get("Type") == "AWS::Lambda::Function"]
        packaged = [
            one["Properties"] for one in functions if "S3Key" in ((one.get("Properties") or {}).get("Code") or ())
        ]
        given = [text for one in packaged for text in _strings(one.get("Handler"))]
        return tuple(dict.fromkeys(text for text in given if "." in text))

    def capabilities(self) -> tuple[str, ...]:
        """What CloudFormation wants acknowledged: that IAM resources are made, with names of their own, and that a
        macro rewrites the template."""
        needed: dict[str, None] = {}
        for resource in self.resources.values():
            name = _IAM_NAMES.get(str(resource.get("Type", "")))
            if name is not None:
                named = name and name in (resource.get("Properties") or {})
                needed["CAPABILITY_NAMED_IAM" if named else "CAPABILITY_IAM"] = None
            if resource.get("Type") == "AWS::CloudFormation::Stack":  # what is within is not seen from here
                needed |= dict.fromkeys(("CAPABILITY_NAMED_IAM", "CAPABILITY_AUTO_EXPAND"))
        if self.document.get("Transform"):
            needed["CAPABILITY_AUTO_EXPAND"] = None
        if "CAPABILITY_NAMED_IAM" in needed:
            needed.pop("CAPABILITY_IAM", None)
        return tuple(sorted(needed))


_IAM_NAMES = {
    "AWS::IAM::AccessKey": "",
    "AWS::IAM::Group": "GroupName",
    "AWS::IAM::InstanceProfile": "InstanceProfileName",
    "AWS::IAM::ManagedPolicy": "ManagedPolicyName",
    "AWS::IAM::Policy": "",
    "AWS::IAM::Role": "RoleName",
    "AWS::IAM::User": "UserName",
    "AWS::IAM::UserToGroupAddition": "",
}
"""Types that need CAPABILITY_IAM, each with the property that makes it CAPABILITY_NAMED_IAM (CloudFormation's
CreateChangeSet, API reference)."""


class _Catalogue:
    """awsllm's own templates, by name; read when they are asked for."""

    def __init__(self, places: Iterable[Path] = (_PACKAGED, _CHECKOUT)) -> None:
        self._places = tuple(places)

    @cached_property
    def paths(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for place in self._places:
            for path in sorted(place.glob(f"*/{FILE}")):
                found.setdefault(path.parent.name, path)
        return dict(sorted(found.items()))


def list_templates() -> tuple[Template, ...]:
    """The templates that awsllm comes with, by name."""
    return tuple(_read(name, path) for name, path in _Catalogue().paths.items())


def template(name: str | Path | Template) -> Template:
    """A template of awsllm's by name, or any by the path of its file. ``ConfigurationError`` names the likest where
    there is none."""
    if isinstance(name, Template):
        return name
    text = str(name)
    own = _Catalogue().paths
    if text in own:
        return _read(text, own[text])
    path = Path(text)
    if path.suffix or path.is_file() or len(path.parts) > 1:
        return _read(path.parent.name if path.name == FILE else path.stem, path)
    near = difflib.get_close_matches(text, own, n=1)
    meant = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(own) or 'none in this installation'}."
    raise ConfigurationError(f"no template is called {text!r}; {meant} A file is named by its path.")


def _read(name: str, path: Path) -> Template:
    try:
        return _read_once(name, path, path.stat().st_mtime_ns)
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


@lru_cache(maxsize=64)
def _read_once(name: str, path: Path, changed: int) -> Template:
    """``changed`` is when the file was; what is read is shared, and nothing here edits it."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} cannot be read: it is not UTF-8") from error
    return read_template(text, name=name, path=str(path))


def read_template(text: str, *, name: str, path: str = "") -> Template:
    """A template from its text. Raises ``ValidationError`` for what is none."""
    where = path or name
    document = read_document(text, where)
    if not isinstance(document.get("Resources"), dict) or not document["Resources"]:
        raise ValidationError(f"{where} has no Resources: it is not a CloudFormation template")
    for resource, given in document["Resources"].items():
        if not resource.startswith("Fn::") and not _is_resource(given):
            raise ValidationError(f"{where}: the resource {resource} is no mapping with a Type and Properties")
    if not isinstance(document.get("Parameters") or {}, dict):
        raise ValidationError(f"{where}: Parameters is no mapping")
    metadata = document.get("Metadata")
    own = metadata.get("awsllm") if isinstance(metadata, dict) else None
    known = own if isinstance(own, dict) else {}
    try:
        return Template(
            name=name,
            path=path,
            text=text,
            document=document,
            title=str(known.get("title") or document.get("Description") or name),
            summary=str(known.get("summary") or document.get("Description") or ""),
            idle_cost=_idle_cost(known.get("idle_cost")),
            needs=tuple(_texts(known.get("needs"))),
            model=msgspec.convert(known.get("model") or {}, dict[str, str]),
        )
    except (msgspec.ValidationError, TypeError) as error:
        raise ValidationError(f"{where}: Metadata.awsllm is not as awsllm reads it: {error}") from error


def _is_resource(given: Any) -> bool:
    return isinstance(given, dict) and isinstance(given.get("Properties") or {}, dict)


def _idle_cost(given: Any) -> IdleCost:
    """Figures may be texts: in YAML those keep their cents."""
    return IdleCost() if given is None else msgspec.convert(given, IdleCost, strict=False)


def _strings(given: Any) -> Iterator[str]:
    """The texts in a value, whichever of a condition's branches they are in."""
    if isinstance(given, str):
        yield given
    elif isinstance(given, dict):
        yield from (text for each in given.values() for text in _strings(each))
    elif isinstance(given, list):
        yield from (text for each in given for text in _strings(each))


def _texts(given: Any) -> Iterator[str]:
    for each in given if isinstance(given, list) else [given] if given else []:
        yield str(each)

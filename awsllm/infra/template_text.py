"""Templates as text: CloudFormation's YAML or JSON read into plain values, and written again.

Safe by construction: no tag makes a Python object, no alias unfolds (CloudFormation knows none, and a few lines of them
unfold into gigabytes), a key that stands twice is refused, and so is what else CloudFormation does not know: merges,
binary values, sets. What JSON could not say is text: YAML would make ``2012-10-17`` a date, and the account
``012345670123`` an octal number. Short forms (``!Ref X``) become their long ones (``{"Ref": "X"}``), which JSON can say
too.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from awsllm.errors import ConfigurationError, ValidationError
from awsllm.types import JsonObject

MOST_BYTES = 1_000_000
"""Of a template's text; CloudFormation takes as many from S3 (its quotas, read 2026-11-26)."""
_PLAIN = {"Ref", "Condition"}
_CORE = "tag:yaml.org,2002:"
_KINDS = {f"{_CORE}{kind}" for kind in ("null", "bool", "int", "float", "str", "seq", "map")}
_NUMBERS = {
    f"{_CORE}int": re.compile(r"-?(0|[1-9][0-9]{0,30})$"),
    f"{_CORE}float": re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)$"),
}
"""Numbers as JSON writes them."""
_SURROGATE = re.compile("[\ud800-\udfff]")


def read_document(text: str, name: str = "the template") -> JsonObject:
    """Raises ``ValidationError`` with the line for what is no document."""
    if (size := len(text.encode(errors="surrogatepass"))) > MOST_BYTES:
        raise ValidationError(f"{name} has {size:,} bytes; CloudFormation takes {MOST_BYTES:,}")
    yaml = _yaml()
    try:
        found = yaml.load(text, Loader=_loader())
    except RecursionError as error:
        raise ValidationError(f"{name}: it is nested too deeply") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it is no YAML"
        raise ValidationError(f"{name}{where}: {problem}") from error
    except (ValueError, LookupError) as error:  # a tag on what it does not fit, such as !!int x
        raise ValidationError(f"{name}: a value is not what its tag says") from error
    if not isinstance(found, dict):
        raise ValidationError(f"{name} is no mapping of sections such as Parameters and Resources")
    return found


def write_yaml(document: Any) -> str:
    """In long forms, members in their order."""
    yaml = _yaml()
    return str(yaml.dump(document, Dumper=_dumper(), sort_keys=False, default_flow_style=False, width=120))


def write_json(document: Any, *, indent: int | None = 2) -> str:
    data = msgspec.json.encode(document)
    return (msgspec.json.format(data, indent=indent) if indent else data).decode()


def _yaml() -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ConfigurationError("templates need PyYAML: pip install 'awsllm[infra]'") from error
    return yaml


@cache
def _loader() -> Any:
    yaml = _yaml()

    class Loader(yaml.SafeLoader):  # type: ignore[misc, name-defined]
        """A SafeLoader that knows CloudFormation's tags, and no aliases, dates and twins."""

        def compose_node(self, parent: Any, index: Any) -> Any:
            if self.check_event(yaml.AliasEvent):
                mark = self.peek_event().start_mark
                raise yaml.composer.ComposerError(None, None, "CloudFormation knows no YAML aliases", mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            seen: set[str] = set()
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode):
                    raise yaml.constructor.ConstructorError(None, None, "a key is no text", key.start_mark)
                if key.value in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key.value!r} stands twice", key.start_mark)
                if key.tag == f"{_CORE}merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, "CloudFormation knows no YAML merges", key.start_mark
                    )
                seen.add(key.value)
                if key.tag in _KINDS:
                    key.tag = f"{_CORE}str"
            return super().construct_mapping(node, deep)

        def construct_scalar(self, node: Any) -> Any:
            text = super().construct_scalar(node)
            if not isinstance(text, str) or not _SURROGATE.search(text):
                return text
            try:  # JSON's escapes are halves of a character
                return text.encode("utf-16", "surrogatepass").decode("utf-16")
            except UnicodeDecodeError as error:
                raise yaml.constructor.ConstructorError(
                    None, None, "half of a character is no text", node.start_mark
                ) from error

    kept = _KINDS | {f"{_CORE}merge"}
    Loader.yaml_constructors = {
        tag: make for tag, make in yaml.SafeLoader.yaml_constructors.items() if tag is None or tag in _KINDS
    }
    Loader.yaml_implicit_resolvers = {
        first: [(tag, _NUMBERS.get(tag, pattern)) for tag, pattern in rules if tag in kept]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_multi_constructor("!", _construct)
    return Loader


def _construct(loader: Any, suffix: str, node: Any) -> Any:
    """A short form as its long one: ``!GetAtt A.B`` is ``{"Fn::GetAtt": ["A", "B"]}``."""
    yaml = _yaml()
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
        if suffix == "GetAtt":
            value = value.split(".", 1)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
    return {suffix if suffix in _PLAIN else f"Fn::{suffix}": value}


@cache
def _dumper() -> Any:
    yaml = _yaml()

    class Dumper(yaml.SafeDumper):  # type: ignore[misc, name-defined]
        """A SafeDumper that writes no aliases, and texts of several lines as blocks."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return Dumper

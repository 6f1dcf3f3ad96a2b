"""Where a service's API lives in a region: the URL, and what a signature must say.

botocore evaluates a rule set per service (about 17 kB of JSON and a 50 ms import). One case covers nearly every call: a
commercial region with neither FIPS nor dual stack, for which the rules come down to one host pattern per service; that
case is a row in ``_SERVICES``. Everything else is left to botocore's own ``EndpointProvider``. A test compares both
with ``boto3.client(...).meta.endpoint_url``.
"""

from __future__ import annotations

import re
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from awsllm.errors import ConfigurationError

Auth = Literal["sigv4", "bearer"]


class Endpoint(msgspec.Struct, frozen=True):
    """``url`` has no trailing slash (a path in it is kept); ``region`` and ``signing_name`` go into the signature."""

    service: str
    url: str
    region: str
    signing_name: str
    auth: Auth = "sigv4"


class _Service(msgspec.Struct, frozen=True):
    host: str
    signing_name: str
    domain: str = "amazonaws.com"
    id: str = ""  # the service's own id, where botocore's name of it is another


MANTLE = "bedrock-mantle"
"""Bedrock's second endpoint for inference, of OpenAI- and Anthropic-shaped routes, which botocore has no model of. Host
and signing name are those of openai 3.57's and anthropic 2.14's own clients for it."""

_SERVICES = {
    "bedrock-runtime": _Service("bedrock-runtime", "bedrock"),
    "bedrock-agent-runtime": _Service("bedrock-agent-runtime", "bedrock"),
    "sagemaker": _Service("api.sagemaker", "sagemaker"),
    "sagemaker-runtime": _Service("runtime.sagemaker", "sagemaker"),
    MANTLE: _Service(MANTLE, MANTLE, "api.aws"),
    "sagemaker-inference-router-runtime": _Service("inferencerouter-runtime.sagemaker", "sagemaker"),
    "dynamodb": _Service("dynamodb", "dynamodb"),
    "sqs": _Service("sqs", "sqs"),
    "ssm": _Service("ssm", "ssm"),
    "sts": _Service("sts", "sts"),
    "secretsmanager": _Service("secretsmanager", "secretsmanager", id="secrets-manager"),
    "stepfunctions": _Service("states", "states", id="sfn"),
    "apigatewaymanagementapi": _Service("execute-api", "execute-api"),
}
# Services that take an API key from the environment (botocore.handlers.get_bearer_auth_supported_services has their
# signing name). bedrock-agent-runtime signs as bedrock too, but its model offers SigV4 only. That mantle takes the key
# too is in openai's and anthropic's clients.
_BEARER_SERVICES = frozenset({"bedrock-runtime", "bedrock", MANTLE})
BEARER_VARIABLE = "AWS_BEARER_TOKEN_BEDROCK"
"""Where that key stands."""

_COMMERCIAL_REGION = r"(us|eu|ap|sa|ca|me|af|il|mx)-[a-z]+-\d+"
_HOST_LABEL = r"(?![0-9]+$)(?!-)[a-zA-Z0-9-]{1,63}(?<!-)"


class RegionVariant(msgspec.Struct, frozen=True):
    """Which of a service's endpoints is wanted."""

    region: str
    fips: bool = False
    dual_stack: bool = False


def normalize_region(region: str, *, fips: bool, dual_stack: bool) -> RegionVariant:
    """The variant that ``region`` stands for: ``fips-us-east-1`` and ``us-east-1-fips`` ask for FIPS by their name."""
    plain = region.replace("fips-", "").replace("-fips", "")
    if not re.fullmatch(_HOST_LABEL, plain):
        raise ConfigurationError(f"{region!r:.60} is not a region name; one looks like 'us-east-1'")
    return RegionVariant(plain, fips or plain != region, dual_stack)


def is_bearer_service(service: str) -> bool:
    return service in _BEARER_SERVICES


def service_id(service: str) -> str:
    """What variables, profiles and botocore's events call a service, in lower case with hyphens."""
    known = _SERVICES.get(service)
    return (known and known.id) or service


def signing_name(service: str, loader: Any = None) -> str:
    """The name in the credential scope: ``bedrock`` for each of Bedrock's services."""
    known = _SERVICES.get(service)
    if known:
        return known.signing_name
    metadata = _load(loader, service, "service-2")["metadata"]
    return str(metadata.get("signingName") or metadata["endpointPrefix"])


def resolve_url(service: str, variant: RegionVariant, custom: str | None = None, loader: Any = None) -> str:
    """The base URL, without a trailing slash. ``custom`` is what the user configured, which like in boto3 goes before
    FIPS and dual-stack settings; ``loader`` is botocore's.

    Raises ConfigurationError for a custom URL without a scheme and a host, and for a partition that lacks the variant.
    """
    if custom:
        return _custom_url(custom)
    known = _SERVICES.get(service)
    if known and not variant.fips and not variant.dual_stack and re.fullmatch(_COMMERCIAL_REGION, variant.region):
        return f"https://{known.host}.{variant.region}.{known.domain}"
    return _mantle_url(variant) if service == MANTLE else _by_rule_set(service, variant, loader)


def _mantle_url(variant: RegionVariant) -> str:
    """One host a region, of both IP versions; GovCloud has it too."""
    if variant.fips:
        raise ConfigurationError(f"{MANTLE} has no FIPS endpoint that is known; name yours as endpoint_url")
    return f"https://{MANTLE}.{variant.region}.api.aws"


# Where a base URL of those clients ends: they add /responses, /chat/completions or /v1/messages to it.
_CLIENT_PATHS = ("/openai/v1", "/anthropic/v1", "/anthropic", "/v1")


def mantle_base(url: str) -> str | None:
    """Of a base URL of openai's or anthropic's client for Bedrock, what the paths of bedrock-mantle's routes are added
    to; None where it is bedrock-runtime's."""
    url = url.rstrip("/")
    if "//bedrock-runtime" in url:
        return None
    return next((url.removesuffix(path) for path in _CLIENT_PATHS if url.endswith(path)), url)


def _custom_url(url: str) -> str:
    if not _is_base_url(url):
        shown = re.sub("//[^/@]*@", "//***@", url)
        raise ConfigurationError(
            f"invalid endpoint URL {shown!r}: it needs a scheme and a host, as in 'https://host:port', in ASCII "
            "(xn--… for other letters in the host, percent-encoded in the path)"
        )
    return url.rstrip("/")


def _is_base_url(url: str) -> bool:
    """Whether it can be called, and all of it can stand in the head of a request."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # a port out of range, a bracket that is not closed
        return False
    written = url.isascii() and url.isprintable() and " " not in url
    return written and parts.scheme in ("http", "https") and bool(parts.hostname) and port != 0


def _by_rule_set(service: str, variant: RegionVariant, loader: Any) -> str:
    from botocore.endpoint_provider import EndpointProvider
    from botocore.exceptions import EndpointProviderError

    rules = _load(loader, service, "endpoint-rule-set-1")
    provider = EndpointProvider(rules, _loader(loader).load_data("partitions"))
    given = {"Region": variant.region, "UseFIPS": variant.fips, "UseDualStack": variant.dual_stack}
    try:
        resolved = provider.resolve_endpoint(**{name: given[name] for name in given if name in rules["parameters"]})
    except EndpointProviderError as error:
        raise ConfigurationError(f"no endpoint of {service} in {variant.region}: {error}") from error
    return str(resolved.url).rstrip("/")


def _load(loader: Any, service: str, kind: str) -> Any:
    from botocore.exceptions import DataNotFoundError, UnknownServiceError

    try:
        return _loader(loader).load_service_model(service, kind)
    except (DataNotFoundError, UnknownServiceError) as error:
        raise ConfigurationError(f"the installed botocore knows no service {service!r}") from error


def _loader(loader: Any) -> Any:
    if loader is None:
        from botocore.loaders import create_loader

        loader = create_loader()
    return loader

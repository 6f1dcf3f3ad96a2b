"""What botocore's configuration and chain of credentials raise, as awsllm's errors: each names the place and the fix.

botocore lets through what its providers happen to meet: a JSONDecodeError for a program that prints something else, a
FileNotFoundError for a token that is not there, a RuntimeError for keys that were stale when they came. So whatever is
raised there is translated, not a list of it. Which provider was at work is read from the traceback, since nothing else
tells. What these errors hold may be a secret (a line of the credentials file, the output of a program), so little of it
is shown, and the frames in between are emptied.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from awsllm.aws.endpoints import BEARER_VARIABLE
from awsllm.aws.failures import describe, forget_locals
from awsllm.errors import AccessDeniedError, AwsllmError, ConfigurationError

T = TypeVar("T")

_NO_CREDENTIALS = (
    "no AWS credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile (profile= or "
    "AWS_PROFILE), run 'aws configure' or 'aws sso login'"
)
NO_REGION = (
    "no AWS region; pass region= (--region on the command line), set AWS_REGION or AWS_DEFAULT_REGION, "
    "or put 'region' into the profile of ~/.aws/config"
)
_LONGEST = 1000  # characters of another's words in a message


def no_credentials() -> str:
    """What to do where there are no keys. Where an API key is set it is no help: what takes one asks for no keys."""
    if os.environ.get(BEARER_VARIABLE):
        return f"{_NO_CREDENTIALS}; this call takes no API key ({BEARER_VARIABLE}), which only Bedrock's models do"
    return f"{_NO_CREDENTIALS}, or for Bedrock's models set {BEARER_VARIABLE}"


class _Provider(msgspec.Struct, frozen=True):
    """Where credentials come from, in words, and what to do when they cannot be had there."""

    where: str
    fix: str

    @property
    def place(self) -> str:
        return self.where.format(
            config=os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"),
            credentials=os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        )


# By what botocore's providers call themselves (METHOD in botocore.credentials, 1.44.5).
_PROVIDERS = {
    "custom-process": _Provider(
        "the credential_process of the profile ({config})",
        "run its command by hand: it has to print JSON with Version 1, AccessKeyId and SecretAccessKey",
    ),
    "sso": _Provider("the SSO sign-in (~/.aws/sso/cache)", "run 'aws sso login'"),
    "login": _Provider("the sign-in (~/.aws/login/cache)", "run 'aws login'"),
    "assume-role-with-web-identity": _Provider(
        "the web identity (web_identity_token_file, AWS_WEB_IDENTITY_TOKEN_FILE)",
        "check the path, and that the token is mounted there",
    ),
    "assume-role": _Provider(
        "the role of the profile (role_arn in {config})", "check role_arn, source_profile and external_id"
    ),
    "container-role": _Provider(
        "the container's role (AWS_CONTAINER_CREDENTIALS_… and AWS_CONTAINER_AUTHORIZATION_TOKEN…)",
        "check that the task or pod has a role, and these variables",
    ),
    "iam-role": _Provider("the instance's role", "check that the instance has a role and may reach its metadata"),
    "shared-credentials-file": _Provider("{credentials}", "check the file"),
    "config-file": _Provider("{config}", "check the file"),
}


def translated(read: Callable[[], T]) -> T:
    """What ``read`` gets from botocore. Raises ConfigurationError, or AccessDeniedError for credentials that expired or
    are refused."""
    try:
        return read()
    except AwsllmError:
        raise
    except Exception as error:
        failure = translate(error)
        forget_locals(error)
        raise failure from error


def is_of_chain(error: BaseException) -> bool:
    """Whether ``error`` comes from a provider of credentials, whatever its type."""
    return _provider(error) is not None


def translate(error: Exception, topic: str = "AWS configuration: ") -> AwsllmError:
    """awsllm's error for one that botocore's configuration or chain of credentials has let through. ``topic`` is what
    stands before words of botocore's that nothing better is known for."""
    from botocore import exceptions

    match error:
        case exceptions.NoRegionError():
            return ConfigurationError(NO_REGION)
        case exceptions.NoCredentialsError():
            return ConfigurationError(no_credentials())
        case exceptions.PartialCredentialsError():
            return ConfigurationError(f"{error}. {no_credentials()}")
        case exceptions.ProfileNotFound():
            return ConfigurationError(f"{error}; 'aws configure list-profiles' shows those there are")
        case exceptions.ConfigParseError():
            return _broken_file(str(error.kwargs["path"]), error.kwargs.get("error"))
        case exceptions.SSOTokenLoadError():
            return ConfigurationError(f"{_words(error)}; {_PROVIDERS['sso'].fix}")
        case (
            exceptions.UnauthorizedSSOTokenError()
            | exceptions.TokenRetrievalError()
            | exceptions.RefreshWithMFAUnsupportedError()
        ):
            return AccessDeniedError(f"the AWS credentials expired and could not be renewed: {_words(error)}")
        case exceptions.CredentialRetrievalError() if error.kwargs.get("provider") != "custom-process":
            return AccessDeniedError(f"the AWS credentials could not be renewed: {_words(error)}; log in again")
        case exceptions.ClientError():  # from STS or SSO
            return AccessDeniedError(f"AWS refused to issue credentials: {_words(error)}")
    provider = _provider(error)
    if provider is None:
        return ConfigurationError(f"{topic}{_words(error)}")
    if isinstance(error, RuntimeError):  # botocore: "Credentials were refreshed, but … are still expired"
        return AccessDeniedError(f"the AWS credentials from {provider.place} have expired: {provider.fix}")
    words = _words(error).removeprefix("Error when retrieving credentials from custom-process: ")
    return ConfigurationError(f"no AWS credentials from {provider.place}: {words}; {provider.fix}")


def _provider(error: BaseException) -> _Provider | None:
    """The innermost provider of credentials at work when ``error`` was raised."""
    found = None
    for frame in _frames(error):
        if frame.f_globals.get("__name__", "").startswith("botocore."):
            owner = frame.f_locals.get("self")
            name = getattr(owner, "METHOD", None) or getattr(owner, "method", None)
            found = (_PROVIDERS.get(name) if isinstance(name, str) else None) or found
    return found


def _frames(error: BaseException) -> Iterator[Any]:
    step = error.__traceback__
    while step is not None:
        yield step.tb_frame
        step = step.tb_next


def _words(error: BaseException) -> str:
    """The error's own words, which for Python's own errors say little without their names. The content of JSON that
    cannot be read is not among them."""
    words = describe(error)[:_LONGEST].rstrip(". ")
    if isinstance(error, OSError) and error.filename:
        return f"{words}: {error.filename!r}"
    if isinstance(error, ValueError) and type(error).__name__ == "JSONDecodeError":
        return f"what it gave is not JSON ({words})"
    if isinstance(error, LookupError | TypeError | AttributeError):
        return f"what it gave is not of the expected form ({type(error).__name__}: {words})"
    return words


def _broken_file(path: str, cause: Any) -> ConfigurationError:
    return ConfigurationError(f"the AWS configuration file {path} cannot be read: {_what_is_wrong(path, cause)}")


def _what_is_wrong(path: str, cause: Any) -> str:
    """In words that quote nothing of the file."""
    try:
        with open(os.path.expanduser(path), "rb") as file:
            start = file.read(256)
    except OSError as error:
        return describe(error)
    if start.startswith(b"\xef\xbb\xbf"):
        return "it begins with a byte order mark; save it as UTF-8 without one"
    if start.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in start:
        return "it is UTF-16; save it as UTF-8"
    if isinstance(cause, UnicodeDecodeError):
        return "it is not UTF-8; save it as UTF-8"
    errors = getattr(cause, "errors", None)  # configparser.ParsingError: (line, text) of each
    line = errors[0][0] if errors else getattr(cause, "lineno", None)
    where = f"line {line}" if line else "a line"
    return f"{where} is wrong; it needs '[profile NAME]' or '[default]', and 'name = value' below, each name once"

"""How Bedrock says no: the codes and statuses of its service model (``bedrock``, its error shapes).

Its texts are not documented; these say what AWS's do as far as users report them. Nothing here was compared with a real
account.
"""

from __future__ import annotations

from awsllm.errors import ModelNotFoundError, RequestError


def missing(noun: str, what: str) -> ModelNotFoundError:
    message = f"Could not find the {noun} {what!r}. Check that it exists in this account and region."
    return ModelNotFoundError(message, code="ResourceNotFoundException", status=404)


def conflict(message: str) -> RequestError:
    return RequestError(message, code="ConflictException", status=400)


def over_quota(message: str) -> RequestError:
    return RequestError(message, code="ServiceQuotaExceededException", status=400)


def too_many_tags(most: int) -> RequestError:
    return RequestError(f"A resource has at most {most} tags.", code="TooManyTagsException", status=400)

"""How the services say no: ``invalid`` and ``denied`` are of them all, the rest is SageMaker's, in whose refusals the
status is 400.

The texts are AWS's where they are publicly known; nothing here was compared with a real account. The control plane and
the runtime name the same kind of refusal differently: ``ValidationException`` there, ``ValidationError`` here.
"""

from __future__ import annotations

from awsllm.errors import AccessDeniedError, ModelNotFoundError, RequestError, ValidationError


class UnauthenticatedError(AccessDeniedError):
    """No key was shown, or a wrong one: AWS refuses that like any other access, other services with a status of its
    own."""


def refused(code: str, message: str) -> RequestError:
    return RequestError(message, code=code, status=400)


def invalid(message: str) -> ValidationError:
    """ValidationException, the same in every control plane and runtime but SageMaker's."""
    return ValidationError(message, code="ValidationException", status=400)


def denied(message: str) -> AccessDeniedError:
    return AccessDeniedError(message, code="AccessDeniedException", status=403)


def could_not_find(noun: str, what: str) -> ValidationError:
    """What SageMaker says of a name it does not know, in most operations: a 400, not a 404."""
    return invalid(f'Could not find {noun} "{what}".')


def not_found(message: str) -> ModelNotFoundError:
    """What the operations of hubs say instead."""
    return ModelNotFoundError(message, code="ResourceNotFound", status=400)


def invalid_invocation(message: str) -> ValidationError:
    """The runtime's ValidationError."""
    return ValidationError(message, code="ValidationError", status=400)


def no_endpoint(name: str, account_id: str) -> ModelNotFoundError:
    """What the runtime says of an endpoint that is not there, or not in service."""
    return ModelNotFoundError(f"Endpoint {name} of account {account_id} not found.", code="ValidationError", status=400)

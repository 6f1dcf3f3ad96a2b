"""Signatures of the frames that a client streams, each over the one before it.

The first is the signature of the request's head, whose digest is ``DIGEST`` in place of a body's. Each frame goes in an
envelope with its time and its signature; an empty envelope ends the stream. The rule is that of AWS's own signers
(``AsyncEventSigner`` of aws-sdk-signers 0.4.0, ``SignatureV4.signEvent`` of @smithy/signature-v4); recorded envelopes
of the first hold it in a test. The same rule, read the other way, is what the server verifies.

With a bearer token nothing is signed, and the frames go without envelopes: so do AWS's own clients where there is no
signer (``AWSEventPublisher`` of smithy-aws-event-stream 0.3.0). The real service has not been seen to take that.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable
from hashlib import sha256

from awsllm.aws.signing import Scope, signing_key
from awsllm.wire.eventstream import encode_date, encode_signed_frame

DIGEST = "STREAMING-AWS4-HMAC-SHA256-EVENTS"
ALGORITHM = "AWS4-HMAC-SHA256-PAYLOAD"


class EventSigner:
    """Puts frames into envelopes. ``prior`` is the signature of the head, in hexadecimal; ``region`` and ``service``
    are those of its scope."""

    def __init__(
        self, secret: str, region: str, service: str, prior: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret  # no repr shows it
        self._region, self._service = region, service
        self._prior = prior
        self._clock = clock

    def sign(self, payload: bytes) -> bytes:
        """The envelope of a frame, or with no payload the one that ends the stream."""
        now = self._clock()
        date = encode_date(int(now * 1000))
        scope = Scope.at(int(now), self._region, self._service)
        signature = sign_event(self._secret, scope, self._prior, date, payload)
        self._prior = signature.hex()
        return encode_signed_frame(date, signature, payload)


def sign_event(secret: str, scope: Scope, prior: str, date: bytes, payload: bytes) -> bytes:
    """The signature of ``payload``, which follows on ``prior``; ``date`` is the header as it is sent."""
    lines = (ALGORITHM, scope.stamp, scope.text, prior, sha256(date).hexdigest(), sha256(payload).hexdigest())
    key = signing_key(secret, scope.stamp[:8], scope.region, scope.service)
    return hmac.digest(key, "\n".join(lines).encode(), "sha256")


def signature_of(authorization: str) -> str:
    """The signature in an Authorization header, in hexadecimal."""
    return authorization.rpartition("Signature=")[2].strip()

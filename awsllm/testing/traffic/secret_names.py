"""Which names stand before a secret: members of bodies, headers, parameters of queries, environment variables.

Names are compared without case and punctuation, so that ``SecretAccessKey``, ``secret_access_key`` and
``AWS_SECRET_ACCESS_KEY`` are one.
"""

from __future__ import annotations

import re
from functools import lru_cache

# How the names of secrets end.
_ENDINGS = (
    *("accesskeyid", "accesskey", "secretkey", "privatekey", "apikey", "signingkey", "customerkey", "keymaterial"),
    *("password", "passwd", "pwd", "passphrase", "secret", "secretstring", "secretbinary", "authorization", "cookie"),
    *(
        "token",
        "samlassertion",
        "devicecode",
        "usercode",
        "privatekeyplaintext",
        "connectionstring",
        "mfacode",
        "secrethash",
        "passworddata",
    ),
)
# Tokens that are pages, ids of a request, and words of models.
_HARMLESS = frozenset({
    *("nexttoken", "continuationtoken", "nextcontinuationtoken", "paginationtoken", "pagetoken", "nextpagetoken"),
    *("startingtoken", "nextforwardtoken", "nextbackwardtoken", "sequencetoken", "uploadsequencetoken"),
    *("nextsequencetoken", "clienttoken", "clientrequesttoken", "idempotencytoken", "requesttoken", "creationtoken"),
    *("stoptoken", "eostoken", "bostoken", "padtoken", "unktoken", "septoken", "clstoken", "masktoken", "starttoken"),
    *("endtoken", "imagetoken", "pertoken", "pricepertoken", "xamznbedrockcontinuationtoken"),
})  # fmt: skip
_SIGNED = ("signature", "credential")
_MASKED = frozenset({"pass", "xamzsecuritytoken", "xamzcredential", "xamzsignature", "xamzssobearertoken", "setcookie"})


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@lru_cache(maxsize=4096)
def is_secret(name: str) -> bool:
    """Whether a text of this name is a secret. A ``token`` without a further word may be a model's: see
    ``scrubber._is_secret_member``."""
    bare = plain(name)
    return bare in _MASKED or (bare.endswith(_ENDINGS) and bare not in _HARMLESS)


@lru_cache(maxsize=4096)
def is_secret_parameter(name: str) -> bool:
    """Whether what follows ``name=`` is a secret. There ``Signature`` is one of a request; as a member of a body it is
    a model's, of its reasoning."""
    return is_secret(name) or plain(name).endswith(_SIGNED)

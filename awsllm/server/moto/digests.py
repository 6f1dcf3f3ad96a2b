"""What S3's clients say of a body that they send, looked at before moto is asked, which believes them: its MD5, and one
of S3's checksums (API reference of S3, PutObject; user guide, "Checking object integrity").

CRC-32C and CRC-64/NVME are looked at where awscrt is installed, which computes them: in Python they would take longer
than all the rest.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from awsllm.errors import ValidationError

_PREFIX = "x-amz-checksum-"
_COMPUTED: dict[str, Callable[[bytes], bytes]] = {
    "crc32": lambda data: zlib.crc32(data).to_bytes(4, "big"),
    "sha1": lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}
_BY_CRT = {"crc32c": "CrtCrc32cChecksum", "crc64nvme": "CrtCrc64NvmeChecksum"}  # botocore's classes


def check_digests(headers: Mapping[str, str], body: bytes) -> None:
    """Raise the refusal of a body that is not what its sender says."""
    if (told := headers.get("content-md5")) is not None:
        digest = _decoded(told)
        if digest is None or len(digest) != 16:
            raise _refused("InvalidDigest", "The Content-MD5 you specified was invalid.")
        if digest != hashlib.md5(body, usedforsecurity=False).digest():
            raise _refused("BadDigest", "The Content-MD5 you specified did not match what we received.")
    for name, compute in (_COMPUTED | _by_crt(headers)).items():
        if (told := headers.get(_PREFIX + name)) is None:
            continue
        computed, digest = compute(body), _decoded(told)
        if digest is None or len(digest) != len(computed):
            raise _refused("InvalidRequest", f"Value for {_PREFIX}{name} header is invalid.")
        if digest != computed:
            raise _refused("BadDigest", f"The {name.upper()} you specified did not match the calculated checksum.")


def _by_crt(headers: Mapping[str, str]) -> dict[str, Callable[[bytes], bytes]]:
    if not any(_PREFIX + name in headers for name in _BY_CRT):
        return {}
    from botocore import httpchecksum
    from botocore.compat import HAS_CRT

    def computing(checksum: type[Any]) -> Callable[[bytes], bytes]:
        return lambda data: base64.b64decode(checksum().handle(data))

    found = {name: getattr(httpchecksum, kind, None) for name, kind in _BY_CRT.items()} if HAS_CRT else {}
    return {name: computing(kind) for name, kind in found.items() if kind is not None}


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return None


def _refused(code: str, message: str) -> ValidationError:
    return ValidationError(message, code=code, status=400)

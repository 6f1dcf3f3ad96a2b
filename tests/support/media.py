"""Small pictures for tests of what makes and changes some."""

import json
from base64 import b64encode

from awsllm.types import Bytes, Image
from awsllm.wire.body import Payload
from awsllm.wire.images.pixels import encode_png

PIXELS = encode_png(320, [bytes(3 * 320)] * 320)
PICTURE = Image("png", Bytes(PIXELS))
OTHER = Image("png", Bytes(encode_png(336, [bytes(3 * 336)] * 320)))
MASK = Image("png", Bytes(encode_png(320, [b"\xff" * 3 * 320] * 320)))


def payload(value: object) -> Payload:
    return Payload(json.dumps(value).encode())


def base64(image: Image) -> str:
    assert isinstance(image.source, Bytes)
    return b64encode(image.source.data).decode()

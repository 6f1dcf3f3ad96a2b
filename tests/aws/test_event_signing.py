"""Signatures of streamed frames, judged by AWS's signers: recorded envelopes, and botocore for the head."""

from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotocoreCredentials

from awsllm.aws import signing
from awsllm.aws.call import HttpRequest
from awsllm.aws.event_signing import DIGEST, EventSigner, signature_of
from awsllm.aws.session import AwsSession
from awsllm.wire.eventstream import FrameDecoder
from awsllm.wire.model_stream import encode_part

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
PRIOR = "ab" * 32
# What aws-sdk-signers 0.4.0 (AsyncEventSigner) and smithy-aws-event-stream 0.3.0 made of two frames and the end of a
# stream, with SECRET, PRIOR, us-east-1 and bedrock; recorded 2026-11-26.
FRAME = (
    "0000006f0000004b9f4ea7ed0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700056368756e6b0d3a636f"
    "6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226279746573223a22614756736247383d227d9f3c0bb6"
)
SECOND = (
    "0000006f0000004b9f4ea7ed0d3a6d6573736167652d747970650700056576656e740b3a6576656e742d747970650700056368756e6b0d3a636f"
    "6e74656e742d747970650700106170706c69636174696f6e2f6a736f6e7b226279746573223a22643239796247513d227d28b413b8"
)
ENVELOPES = (
    "000000c200000043192274f8053a6461746508000001a219053d4f103a6368756e6b2d7369676e6174757265060020e1ff20ce902dd64bf1732381"
    "a1227f73034152f73af446bcbd438d7bedaa41ca" + FRAME + "cff1845a",
    "000000c200000043192274f8053a6461746508000001a219053d4f103a6368756e6b2d7369676e61747572650600203c029d1fd31a9a09ac6c6104"
    "3e58dcb63897f295f600eb956245a786ecca91b8" + SECOND + "4fb121ca",
    "0000005300000043f5447a58053a6461746508000001a219053d4f103a6368756e6b2d7369676e61747572650600204fc9f1cbcd4053eab41356a0"
    "1aca41d7831ff47f419b146db782447a18797bbae6e1359e",
)
DATE = 0x1A219053D4F  # milliseconds, as recorded


def test_envelopes_are_those_of_awss_own_signer() -> None:
    signer = EventSigner(SECRET, "us-east-1", "bedrock", PRIOR, clock=lambda: DATE / 1000)
    made = [signer.sign(payload).hex() for payload in (bytes.fromhex(FRAME), bytes.fromhex(SECOND), b"")]
    assert made == list(ENVELOPES)


def test_an_envelope_holds_the_frame_and_its_signature() -> None:
    signer = EventSigner(SECRET, "us-east-1", "bedrock", PRIOR)
    frame = encode_part(b"hello")
    (envelope,) = FrameDecoder().feed(signer.sign(frame))
    assert envelope.payload == frame
    assert list(envelope.headers) == [":date", ":chunk-signature"]
    assert len(envelope.headers[":chunk-signature"]) == 32
    (end,) = FrameDecoder().feed(signer.sign(b""))
    assert end.payload == b""


def test_the_head_is_signed_as_botocore_signs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    session = AwsSession(region="us-east-1")
    path = "/model/amazon.nova-2-sonic-v1%3A0/invoke-with-bidirectional-stream"
    request = HttpRequest("bedrock-runtime", "POST", path, {"X-Amz-Content-SHA256": DIGEST})
    signed = signing.sign(request, session, digest=DIGEST)
    expected = botocore_signed(signed, signed.headers["X-Amz-Date"], monkeypatch)
    assert signature_of(signed.headers["Authorization"]) == signature_of(expected)


def botocore_signed(signed: signing.SignedRequest, stamp: str, monkeypatch: pytest.MonkeyPatch) -> str:
    auth: Any = SigV4Auth(BotocoreCredentials("AKIDEXAMPLE", SECRET), "bedrock", "us-east-1")
    headers = {n: v for n, v in signed.headers.items() if n not in ("Authorization", "X-Amz-Date")}
    request = AWSRequest(signed.method, signed.url, headers=headers)
    request.context["timestamp"] = stamp
    request.headers["X-Amz-Date"] = stamp
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return f"Signature={auth.signature(text, request)}"

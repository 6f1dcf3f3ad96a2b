"""Where recordings meet traffic: botocore's endpoints, aiobotocore's, and awsllm's two transports.

Each has one place where a request becomes the head of a response, and that is replaced as long as at least one
recording is entered. Clients that exist already are answered too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from awsllm.aws import duplex
from awsllm.aws.session import AwsSession
from awsllm.aws.signing import SignedRequest
from awsllm.testing.traffic import aiobotocore_tap, awsllm_tap, botocore_tap
from awsllm.testing.traffic.matching import MissingRecordingError
from awsllm.testing.traffic.meeting import Recorder, entered

_lock = threading.Lock()
_originals: list[tuple[Any, str, Any]] = []


@contextmanager
def tapped(recording: Recorder) -> Iterator[None]:
    """All traffic of this process goes by ``recording`` while the block runs."""
    with _lock:
        if not entered:
            _install()
        entered.append(recording)
    try:
        yield
    finally:
        with _lock:
            entered.remove(recording)
            if not entered:
                _uninstall()


def _install() -> None:
    for owner, name, replacement in (*botocore_tap.places(), *aiobotocore_tap.places(), *awsllm_tap.places()):
        original = vars(owner)[name]
        _originals.append((owner, name, original))
        setattr(owner, name, replacement(original))
    duplex.STAND_INS.append(_refuse_speech)


def _uninstall() -> None:
    duplex.STAND_INS.remove(_refuse_speech)
    while _originals:
        owner, name, original = _originals.pop()
        setattr(owner, name, original)


def _refuse_speech(request: SignedRequest, session: AwsSession) -> None:
    """Where nothing may be sent, no conversation is begun that would be."""
    for recording in entered:
        if not recording.sends and recording.concerns("bedrock-runtime"):
            raise MissingRecordingError(f"{recording.path} has no spoken conversation: those are not recorded")

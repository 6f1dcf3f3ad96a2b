"""From a client's call to a session that can be entered."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from awsllm.aws.session import AwsSession
from awsllm.calls.options import SpeechOptions
from awsllm.calls.speech import prepare_speech
from awsllm.speech.session import AsyncSpeechSession

_CONNECT = 10.0  # seconds


def speech_session(
    model: str, options: SpeechOptions, sessions: Callable[[str | None], AwsSession], timeout: float | None
) -> Callable[[], AsyncSpeechSession]:
    """What makes the session, on the loop on which it is to run. ``sessions`` gives AWS's side of the client in a
    region, ``timeout`` is the client's own for connecting."""
    from awsllm.backends.bedrock.speech import open_speech

    prepared = prepare_speech(model, options)
    seconds = prepared.timeout or timeout or _CONNECT

    def make() -> AsyncSpeechSession:
        session = sessions(prepared.reference.region)
        return AsyncSpeechSession(prepared, partial(open_speech, session, prepared.setup, seconds))

    return make

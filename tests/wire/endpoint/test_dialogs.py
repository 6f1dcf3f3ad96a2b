"""Llama 2's dialogs: the licence in every call, turns that alternate."""

import msgspec
import pytest

from awsllm.errors import EulaNotAcceptedError, ValidationError
from awsllm.types import ConverseRequest, EndpointOptions, Message
from awsllm.wire.endpoint.dialogs import DialogsChat
from tests.support.bodies import PLAIN, ask

CHAT = DialogsChat()
ACCEPTING = EndpointOptions(accept_eula=True)


def test_the_licence_is_accepted_in_the_call_or_not_at_all() -> None:
    assert CHAT.encode_request(ask(endpoint=ACCEPTING), PLAIN).attributes == "accept_eula=true"
    with pytest.raises(EulaNotAcceptedError, match="accept_eula"):
        CHAT.encode_request(ask(), PLAIN)
    sent = CHAT.encode_request(ask(endpoint=ACCEPTING), PLAIN)
    with pytest.raises(EulaNotAcceptedError):
        CHAT.decode_request("ep", msgspec.structs.replace(sent, attributes=None), PLAIN)


@pytest.mark.parametrize(
    "turns",
    [(Message.assistant("x"),), (Message.user("a"), Message.user("b")), (Message.user("a"), Message.assistant("b"))],
)
def test_turns_of_a_dialog_alternate(turns: tuple[Message, ...]) -> None:
    with pytest.raises(ValidationError):
        CHAT.encode_request(ConverseRequest(model="ep", messages=turns, endpoint=ACCEPTING), PLAIN)

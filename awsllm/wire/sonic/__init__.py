"""Nova Sonic's events over InvokeModelWithBidirectionalStream, both ways.

Each event is a JSON object ``{"event": {NAME: {…}}}`` in the bytes of a ``chunk``. ``inputs`` are what is said to the
model, ``outputs`` what it says: records that are encoded and decoded alike, so that the client uses one half and the
server the other. ``prompt`` makes the inputs of a session, ``reader`` makes neutral events of the outputs.

Members and their order in a conversation: docs.aws.amazon.com/nova/latest/userguide/input-events.html,
output-events.html, speech-tools-use.html and nova2-userguide/sonic-input-events.html, sonic-turn-taking.html,
sonic-chat-history.html, sonic-cross-modal.html (read 2026-11-26).
"""

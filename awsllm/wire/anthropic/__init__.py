"""Anthropic's dialect: the Messages API, and the text completions before it.

blocks      content blocks and citations
request     a request's body
response    a whole reply: message, usage, stop reason
stream      the events of a streamed reply
errors      how the API reports errors
body        all of it as a body, over payloads
text        text completions (Claude 2, 2.1 and Instant)

What differs between the places that speak the dialect is an argument: one names the model and says whether to stream in
the body and the version in a header, another has both in the URL and the version in the body (``body.MessagesChat``).

Source: docs.anthropic.com, Messages API; the types of Anthropic's Python SDK, version 2.14 of 2026.
"""

"""OpenAI's Responses API, both ways: a conversation is a list of items, an answer another, a stream the growth of one.

``items`` maps between items and blocks, ``request`` and ``response`` are what their names say, ``decoder`` and
``encoder`` have the stream, ``body`` makes a body of them. Members and events are those of openai 3.57's types, which
judge them where that SDK is installed.

    message                    Text, Citations; Image and Document of the user
    function_call, custom_…    ToolUse
    function_call_output, …    ToolResult
    reasoning                  Reasoning; its signature holds what must come back unchanged (``items``)
    what the service runs      ToolUse of the type server_tool_use, whose input is the whole item
"""

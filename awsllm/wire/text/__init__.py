"""What bodies that take and give text are made of.

blocks      content blocks as text: the one rendering, for other dialects and the local model too
pdf         a PDF's text, read by a child process (``pdf_reader``)
prompts     a conversation as one text, in the style of its model, and back
request     what a body of a text can carry, and its knobs
stops       where an answer's text ends
thinking    what of the text is the model's thinking
generated   an answer that comes whole
events      the text of an answer as stream events; streamed as ``tokens`` or as ``pieces``
prompted    the chat of models that take a prompt and give a text
errors      how servers without a scheme report errors
"""

"""The call log: calls kept whole in an SQLite file, to be looked at, searched and made again. Off unless asked for.

``call_log.py`` is what a client is given, an observer: it is told of a call that is over and puts it into a queue,
which is all that the call pays. ``writer.py`` is the thread behind the queue; a ``KeptCall`` is made there of each
(``kept.py``: values as JSON, past the redaction, media by their hash), and several are written at once into the
``CallStore`` (``store.py``), which bounds what is kept and searches it.
"""

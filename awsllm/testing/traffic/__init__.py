"""Real traffic with AWS, recorded in a file and replayed from it without a socket.

``recording.py`` is what users enter. While at least one recording is entered, ``taps.py`` stands in botocore's
endpoints and in awsllm's two transports (a file a library). Each request meets the recordings (``meeting.py``), the
last entered first, and what none of them answers goes on, to a mock or to AWS. What comes back is noted piece by piece
with its time (``take.py``).

An exchange is kept as a value that a person can read (``exchange.py``): JSON as structure (``bodies.py``), a stream as
the events of each chunk (``streams.py``). Before it is written, and before a request is compared with what was written,
it passes ``scrub.py``, so that nothing secret reaches the disk and that both sides of a comparison are alike.
``matching.py`` compares; ``cassette.py`` is the file, ``vcr.py`` reads the files of others.
"""

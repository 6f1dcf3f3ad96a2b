"""Answers that are kept: an equal request is answered without a call.

``keys`` says which requests are equal, ``kept`` what an answer is on its way into a store and out of it, ``stores``
where it lies, ``flights`` how equal calls that are made at once become one, ``semantic`` which question means the same
as another. ``cached`` is the backend that does all this around another one, ``cached_async`` its twin.
"""

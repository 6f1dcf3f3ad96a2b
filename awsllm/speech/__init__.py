"""Spoken conversations: a session that is spoken to and speaks at the same time."""

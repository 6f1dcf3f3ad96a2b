"""Mistral's dialect: a prompt in its first models, conversations in the later ones."""

"""Meta's dialect: Llama behind a prompt."""

"""Writer's dialect: Palmyra's, next to the OpenAI format."""

"""DeepSeek's own dialect: R1 behind a prompt. What came after it speaks the OpenAI format."""

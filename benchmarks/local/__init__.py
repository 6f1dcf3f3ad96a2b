"""The engine beside llama.cpp: ``python -m benchmarks.local`` (``__main__`` says what is measured)."""

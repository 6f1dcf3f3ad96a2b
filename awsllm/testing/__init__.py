"""For tests: scripted backends, AWS in-process with real answers, a pytest plugin."""

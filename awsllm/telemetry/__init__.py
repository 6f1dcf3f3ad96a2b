"""What is told of a client's calls to those who watch: OpenTelemetry, a log, CloudWatch's metrics.

Each is an observer (``policy.observers``). ``choice`` makes those that a client names; nothing here is loaded where it
names none.
"""

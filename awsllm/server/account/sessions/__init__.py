"""SageMaker's training sessions, offline: a model of this machine is trained by the operations that a caller sends.

    records    what a session, its operations and its saved packages are, and how they are found
    life       what becomes of a session: it is scheduled, runs, is blocked, stops, expires
    work       its operations, one after another, over ``jobs.sessions.local``
    packages   what it saves: files in S3, and the model packages that name them
    control    the operations of SageMaker
    runtime    those of the runtime, whose results are asked for; the two that are answered at once are
               ``surfaces.training_sessions``

Read of botocore's service models, of the API reference and of the Developer Guide (training-sessions-primitives,
-troubleshooting), and of AWS's own SDK, sagemaker-train 1.27 (PyPI, ``sagemaker.train.training_session``), all read
2026-11-27; that SDK's loop (passes, steps, samples, states saved and loaded) ran against this account that day.
Unproved, for they are written nowhere: how long a session may be idle or blocked (``life``), and the texts of refusals.
"""

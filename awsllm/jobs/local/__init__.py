"""Trainings on this machine, each a folder and a process of its own that outlives whoever started it.

    folder      what a job's folder holds: plan, state, log, metrics; and who works in it
    kind        how such jobs are made, found, stopped, and taken up again where their process was killed
    planning    a base and data to a plan
    worker      what the process does: ``python -m awsllm.jobs.local FOLDER``
    training    the plan's data as tokens, and the engine's trainer over them

Nothing is told from process numbers: whoever works holds the folder's lock, which goes with it, however it dies.
"""

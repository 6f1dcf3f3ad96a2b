"""Training by hand, the same loop in two places.

session    what a caller holds: passes, steps, samples, what is saved
local      over the engine of this machine
remote     over SageMaker's training sessions
"""

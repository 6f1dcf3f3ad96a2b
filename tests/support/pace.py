"""Time that only waiting moves, so that no test sleeps."""

from awsllm.jumpstart.deploy.progress import Pace

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


class Time:
    """A clock that sleeping moves. ``slept`` has the pauses."""

    def __init__(self, at: float = NOW) -> None:
        self.at = at
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds

    def now(self) -> float:
        return self.at

    def pace(self, poll: float) -> Pace:
        return Pace(poll=poll, sleep=self.sleep, clock=self.now, now=self.now)


def at(now: float) -> Pace:
    """It is ``now`` whatever is waited for, and nothing waits."""
    return Pace(poll=0, sleep=lambda seconds: None, now=lambda: now)

"""The options of a batch beside those of the calls that it makes. As in ``calls.options``, annotations are values."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from awsllm.calls.options import ConverseOptions


class BatchOptions(ConverseOptions, total=False):
    """The options of ``batch``; those of ``converse`` besides, which hold for every record that does not say otherwise.

    id: the column that names a record; without it "id", "recordId" or "custom_id", where there is one, else its number.
    answer: the column of answers in the output, "answer" by default; the others begin with its name (answer_error …).
    ledger: the file by which the batch is taken up again; by default it stands beside the output (OUTPUT.ledger).
    concurrency: how many calls are made at once, 8 by default. The client's limits and budgets bound them as any calls.
    attempts: how often a record is asked whose error may pass, 3 by default, beside the policy's own attempts; of jobs
        of a service, how many a record gets.
    retry_failed: records that were set aside because their calls failed are asked again, as often as new ones.
    shard: "2/8": of eight parts of the records, take the second, with an output and a ledger of its own.
    on_invalid: what becomes of a record that cannot be asked: "raise" (the default; nothing is asked then) or
        "set_aside", with its error.
    deadline: seconds within which all shall be answered; what takes longer is not chosen by where="auto".
    s3: an s3:// prefix, in the model's region, for what jobs read and write.
    role: the ARN of the role as which Bedrock reads and writes there; without it that of AWSLLM_BEDROCK_ROLE. The
        plan's role_permissions are what it needs.
    kms: the key that what jobs write is encrypted with.
    job_hours: the hours that one of Bedrock's jobs may take, 24 (the default) to 168.
    job_tags: names and texts that jobs are tagged with.
    instance_type: the machine of a batch transform.
    format: what its container speaks, such as "tgi", where the client's formats do not say it.
    on_progress: hears how far it is, as a BatchState, at most four times a second.
    dry_run: only the plan is made: the job is not started, and no ledger is left.
    """

    id: str | None
    answer: str
    ledger: str | os.PathLike[str] | None
    concurrency: int
    attempts: int
    retry_failed: bool
    shard: str | None
    on_invalid: str
    deadline: float | None
    s3: str | None
    role: str | None
    kms: str | None
    job_hours: int
    job_tags: Mapping[str, str] | None
    instance_type: str | None
    format: str | None
    on_progress: Callable[[Any], None] | None
    dry_run: bool


AT_ONCE = 8
"""Calls, where ``concurrency`` says nothing."""
OWN = frozenset(BatchOptions.__annotations__) - frozenset(ConverseOptions.__annotations__)
ONCE = frozenset(("dry_run", "retry_failed"))
"""What a call says of itself, and not of the batch."""

"""Where a batch runs, what it will cost, and why: told before anything is spent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from awsllm.errors import AwsllmError, ConfigurationError, UnsupportedError, ValidationError
from awsllm.jobs.batch.bodies import Prepare, first_request, why_not
from awsllm.jobs.batch.options import AT_ONCE, BatchOptions
from awsllm.jobs.batch.quotas import JobQuotas
from awsllm.jobs.batch.records import arguments_of
from awsllm.jobs.batch.values import BatchEstimate
from awsllm.models.opaque import opaque_kind
from awsllm.models.prices import Price, Use, cost
from awsllm.models.references import Reference
from awsllm.policy.limiting.estimating import ModelUsage, estimate
from awsllm.types import Usage

WHERES = ("auto", "calls", "bedrock-batch", "transform")
_DAY = 86_400
_WORTH = 0.50  # US dollars that a batch job must save before a day's wait is worth it
_FIRST, _A_TOKEN, _SOME = 1.0, 0.02, 300  # seconds to the first token and for each; tokens where none bounds them
_MANY = 10  # times the least records, where prices are not known


class RecordSample(NamedTuple):
    """What some of the records showed. ``why_not`` keeps them out of a job of Bedrock's."""

    input_tokens: float
    output_tokens: float | None
    seen: int
    why_not: str | None = None


def sampled(arguments: Iterable[bytes], prepare: Prepare, model: str) -> RecordSample:
    """Tokens of records, by their characters."""
    usage, tokens, most, count, reason = ModelUsage(model, 1), 0, 0, 0, None
    bounded = True
    for kept in arguments:
        try:
            call = prepare(*arguments_of(kept))
        except AwsllmError:
            continue
        request = first_request(call)
        given, longest = estimate(request, usage)
        bounded = bounded and request.inference_config.max_tokens is not None
        tokens, most, count = tokens + given, most + longest, count + 1
        reason = reason or why_not(call)
    return RecordSample(tokens / max(count, 1), most / max(count, 1) if bounded else None, count, reason)


def estimated(records: int, sample: RecordSample, price: Price | None, *, local: bool) -> BatchEstimate:
    """For all, from some. ``local``: what computes is this machine, which costs nothing by the token."""
    given = round(records * sample.input_tokens)
    most = None if sample.output_tokens is None else round(records * sample.output_tokens)

    def usd(tier: str | None) -> float | None:
        if most is None:
            return None
        return cost(Use(usage=Usage(input_tokens=given, output_tokens=most), tier=tier, summed=True), price)

    return BatchEstimate(
        records=records,
        input_tokens=given,
        output_tokens=most,
        usd_calls=0.0 if local else usd(None),
        usd_batch=None if local else usd("batch"),
    )


class Case(NamedTuple):
    """What a choice is made of. ``reference`` is None for a group."""

    reference: Reference | None
    options: BatchOptions
    estimate: BatchEstimate
    sample: RecordSample
    quotas: JobQuotas | None


def chosen(where: str, case: Case) -> tuple[str, tuple[str, ...]]:
    """Where it runs, and the reasons. Raises what keeps it from where the caller wants it."""
    if where not in WHERES:
        raise ValidationError(f"where={where!r:.40} is none of {', '.join(WHERES)}")
    if where == "calls":
        return where, ("single calls were asked for",)
    if where == "bedrock-batch":
        if refusal := _not_bedrock(case):
            raise refusal
        return where, ("Bedrock's batch jobs were asked for", *_facts(case))
    if where == "transform":
        if refusal := _not_transform(case):
            raise refusal
        return where, ("a batch transform was asked for",)
    where, reasons = _best(case)
    return where, (*reasons, *(_too_slow(case) if where == "calls" else ()))


def _best(case: Case) -> tuple[str, tuple[str, ...]]:
    reference, found = case.reference, case.estimate
    if reference is None:
        return "calls", ("a group of models is asked by single calls",)
    if reference.scheme == "local":
        return "calls", ("a local model computes here",)
    if reference.scheme == "sagemaker":
        if (refusal := _not_transform(case)) is None and found.records >= 1000 and not _is_urgent(case):
            return "transform", (f"{found.records:,} records, and instance_type= names a machine of their own",)
        return "calls", ("the endpoint runs and is paid for already", *((refusal.message,) if refusal else ()))
    if refusal := _not_bedrock(case):
        saving = _saving(case)
        hint = () if saving is None or saving < _WORTH else (f"a batch job would save about ${saving:.2f}",)
        return "calls", (refusal.message, *hint)
    if _is_urgent(case):
        said = f"a batch job may take a day, and the deadline is in {case.options['deadline']:g} seconds"
        return "calls", (said,)
    if slow := _too_slow(case):
        return "bedrock-batch", (*slow, "a batch job takes a day at most by itself", *_facts(case))
    return _by_price(case)


def _by_price(case: Case) -> tuple[str, tuple[str, ...]]:
    saving, records = _saving(case), case.estimate.records
    if saving is None:
        least = (case.quotas or JobQuotas()).least * _MANY
        known = "what it would save is not known (give max_tokens=, or a price)"
        if records < least:
            return "calls", (f"{known}, and {records:,} records are soon asked",)
        return "bedrock-batch", (f"{records:,} records, for which a batch job is made; {known}", *_facts(case))
    if saving < _WORTH:
        return "calls", (f"a batch job would save at most ${saving:.2f}, and may take a day",)
    return "bedrock-batch", (f"a batch job saves up to ${saving:.2f}, and may take a day", *_facts(case))


def _saving(case: Case) -> float | None:
    single, batch = case.estimate.usd_calls, case.estimate.usd_batch
    return None if single is None or batch is None else single - batch


def _is_urgent(case: Case) -> bool:
    deadline = case.options.get("deadline")
    return deadline is not None and deadline < _DAY


def _too_slow(case: Case) -> tuple[str, ...]:
    """Said where single calls may miss the deadline, by what calls of most models take."""
    deadline, at_once = case.options.get("deadline"), case.options.get("concurrency", AT_ONCE)
    tokens = case.sample.output_tokens if case.sample.output_tokens is not None else _SOME
    seconds = case.estimate.records * (_FIRST + _A_TOKEN * tokens) / at_once
    if deadline is None or seconds <= deadline:
        return ()
    return (f"single calls, {at_once} at once, may take {seconds / 3600:,.1f} hours, longer than the deadline",)


def _facts(case: Case) -> tuple[str, ...]:
    quotas = case.quotas or JobQuotas()
    source = "Service Quotas" if quotas.known else "the defaults; Service Quotas was not to be read"
    return (f"a job takes {quotas.least:,} to {quotas.most:,} records ({source})",)


def _not_bedrock(case: Case) -> AwsllmError | None:
    """What keeps a batch from being one of Bedrock's."""
    reference, options = case.reference, case.options
    if reference is None or reference.scheme != "bedrock":
        return UnsupportedError("only a single bedrock: model has batch jobs there")
    kind = opaque_kind(reference.model)
    if kind is not None and "provisioned" in str(kind):
        return UnsupportedError("provisioned models have no batch jobs")
    if case.sample.why_not:
        return UnsupportedError(case.sample.why_not)
    missing = [f"{name}=" for name in ("s3", "role") if not options.get(name)]
    if missing:
        return ConfigurationError(f"Bedrock's batch jobs need {' and '.join(missing)}")
    quotas = case.quotas or JobQuotas()
    if case.estimate.records < quotas.least:
        return ValidationError(
            f"a batch job of this model takes at least {quotas.least:,} records, and these are "
            f"{case.estimate.records:,}"
        )
    return None


def _not_transform(case: Case) -> AwsllmError | None:
    if case.reference is None or case.reference.scheme != "sagemaker":
        return UnsupportedError("a batch transform is of a sagemaker: endpoint's model")
    missing = [f"{name}=" for name in ("s3", "instance_type") if not case.options.get(name)]
    return ConfigurationError(f"a batch transform needs {' and '.join(missing)}") if missing else None

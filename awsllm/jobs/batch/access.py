"""What a batch needs of IAM: its caller, and the role that Bedrock's jobs have.

Names of jobs begin with ``awsllm-``; those of Bedrock are known by ids that the service makes, so that no narrower
resource can be named. Sources: docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-permissions.html and
batch-iam-sr.html, read 2026-11-27.
"""

from __future__ import annotations

from collections.abc import Iterator

from awsllm.aws import iam
from awsllm.aws.iam import Arns, actions, statement
from awsllm.jobs.batch.options import BatchOptions
from awsllm.jobs.batch.tables import is_s3
from awsllm.jobs.bedrock import roles
from awsllm.jobs.transform import TRANSFORM
from awsllm.models.references import Reference, geography, without_geography
from awsllm.types import JsonObject, Value

_JOB = "model-invocation-job"
_KEY = ("Encrypt", "Decrypt", "GenerateDataKey", "DescribeKey")
_S3_READ, _S3_WRITE = "s3:GetObject", ("s3:PutObject", "s3:AbortMultipartUpload")


class BatchAccess(Value, frozen=True, kw_only=True):
    """Policy documents: ``caller`` is what whoever runs the batch needs; ``role`` what the role of Bedrock's jobs
    does, and ``trust`` who may be it. Those two are None for all that has no such role."""

    caller: JsonObject
    role: JsonObject | None = None
    trust: JsonObject | None = None


class BatchPlace(Value, frozen=True, kw_only=True):
    """Where a batch runs and what it touches: ``tables`` are its input and output, as far as they are in S3."""

    where: str
    references: tuple[Reference, ...]
    region: str
    read: str | None = None
    written: str | None = None

    def access(self, options: BatchOptions) -> BatchAccess:
        role = str(options.get("role") or "") if self.where == "bedrock-batch" else ""
        arns = Arns(self.region, iam.account_of(role))
        allowed = [*self._tables(arns), *self._work(arns, options, role)]
        if not role:
            return BatchAccess(caller=iam.policy(*allowed))
        place, key = str(options.get("s3")), options.get("kms")
        more = [*_profile(self.references[0].model, arns), *iam.use_key(key, _KEY, arns)]
        return BatchAccess(
            caller=iam.policy(*allowed),
            role=roles.role_rights(arns, [place], [place], more),
            trust=roles.trust(arns, _JOB),
        )

    def _tables(self, arns: Arns) -> Iterator[JsonObject]:
        if self.read and is_s3(self.read):
            yield statement("ReadRecords", _S3_READ, arns.objects(self.read).removesuffix("*"))
        if self.written and is_s3(self.written):
            yield statement("WriteRows", _S3_WRITE, arns.objects(self.written).removesuffix("*"))

    def _work(self, arns: Arns, options: BatchOptions, role: str) -> Iterator[JsonObject]:
        if self.where != "transform":
            yield from self._calls(arns)  # what jobs leave is asked by calls
        if self.where == "bedrock-batch":
            yield from _jobs(self.references[0].model, arns, role)
        if self.where == "transform":
            yield from _transforms(self.references[0].model, arns)
        if self.where != "calls":
            place = str(options.get("s3"))
            yield statement("ListJobFiles", "s3:ListBucket", arns.bucket(place))
            yield statement("JobFiles", [_S3_READ, *_S3_WRITE], arns.folder(place))
            yield from iam.use_key(options.get("kms"), _KEY, arns)

    def _calls(self, arns: Arns) -> Iterator[JsonObject]:
        models = [arn for one in self.references if one.scheme == "bedrock" for arn in invoked(one.model, arns)]
        endpoints = [one.model.rpartition("endpoint/")[2] for one in self.references if one.scheme == "sagemaker"]
        if models:
            yield statement("Ask", "bedrock:InvokeModel", models)
        if endpoints:
            named = [arns.of("sagemaker", f"endpoint/{name.partition('/')[0].lower()}") for name in endpoints]
            yield statement("AskEndpoint", "sagemaker:InvokeEndpoint", named)


def invoked(model: str, arns: Arns) -> list[str]:
    """What a call of a Bedrock id reaches: the model where it is, of a geography in all of that one's regions."""
    if model.startswith("arn:"):
        return [model]
    foundation = f"arn:{arns.partition}:bedrock:{{}}::foundation-model/{without_geography(model)}"
    if geography(model) is None:
        return [foundation.format(arns.region)]
    return [arns.of("bedrock", f"inference-profile/{model}"), foundation.format("*")]


def _profile(model: str, arns: Arns) -> Iterator[JsonObject]:
    """The role invokes by itself what other regions answer."""
    if geography(model) is not None or ":application-inference-profile/" in model:
        yield statement("InvokeAcrossRegions", "bedrock:InvokeModel", invoked(model, arns))


def _jobs(model: str, arns: Arns, role: str) -> Iterator[JsonObject]:
    job = arns.of("bedrock", f"{_JOB}/*")
    making = actions("bedrock", "CreateModelInvocationJob", "TagResource")
    yield statement("MakeJobs", making, [job, *invoked(model, arns)])
    following = actions("bedrock", "GetModelInvocationJob", "StopModelInvocationJob", "ListTagsForResource")
    yield statement("FollowJobs", following, job)
    yield statement("FindJobs", ["bedrock:ListModelInvocationJobs", "servicequotas:ListServiceQuotas"], "*")
    yield roles.handing_over(role)


def _transforms(model: str, arns: Arns) -> Iterator[JsonObject]:
    """The model's own execution role reads the records and writes the answers."""
    yield from TRANSFORM.rights("awsllm-*", arns)
    name = model.rpartition("endpoint/")[2].partition("/")[0].lower()
    yield statement("Endpoint", "sagemaker:DescribeEndpoint", arns.of("sagemaker", f"endpoint/{name}"))
    behind = [arns.of("sagemaker", f"{kind}/*") for kind in ("endpoint-config", "model")]
    with_model = actions("sagemaker", "DescribeEndpointConfig", "DescribeModel", "CreateTransformJob")
    yield statement("Model", with_model, behind)  # a job is made of a model: IAM asks for both

"""`awsllm infra policy`: the least IAM permissions that calls of models need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from awsllm.cli import flags, terminal
from awsllm.cli.options import EndpointUrl, Json, Profile, Region, pairs

if TYPE_CHECKING:
    from awsllm.infra.permissions import Permissions

_JOBS = ("fine-tuning", "serverless", "import", "transform", "session", "evaluation")
_DOCUMENTS = ("caller", "role", "trust")


def policy(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="References: bedrock:..., an ARN, sagemaker:ENDPOINT[/COMPONENT]."),
    ] = None,
    stream: Annotated[bool, typer.Option("--stream", help="Answers are streamed, too.")] = False,
    endpoint: Annotated[list[str] | None, typer.Option(help="A SageMaker endpoint; `*` stands for any text.")] = None,
    guardrail: Annotated[list[str] | None, typer.Option(help="The id or ARN of a guardrail.")] = None,
    guardrail_profile: Annotated[str | None, typer.Option(help="Its profile, such as us.guardrail.v1:0.")] = None,
    knowledge_base: Annotated[list[str] | None, typer.Option(help="The id or ARN of a knowledge base.")] = None,
    generate: Annotated[bool, typer.Option("--generate", help="Answers are written from them, too.")] = False,
    rerank: Annotated[bool, typer.Option("--rerank", help="The models rank documents.")] = False,
    count_tokens: Annotated[bool, typer.Option("--count-tokens", help="Tokens are counted, too.")] = False,
    async_output: Annotated[str | None, typer.Option(help="Answers come later, under s3://...")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="Batch jobs, too; see --document.")] = False,
    batch_role: Annotated[str | None, typer.Option(help="ARN of the role that runs the jobs.")] = None,
    batch_input: Annotated[str | None, typer.Option(help="Where the jobs' questions lie, s3://...")] = None,
    batch_output: Annotated[str | None, typer.Option(help="Where their answers go, s3://...")] = None,
    job: Annotated[str | None, typer.Option(help=f"Jobs of these models instead of calls: {', '.join(_JOBS)}.")] = None,
    job_role: Annotated[str | None, typer.Option(help="ARN of the role that they run as.")] = None,
    job_input: Annotated[str | None, typer.Option(help="Where data lie that are in S3 already, s3://...")] = None,
    job_output: Annotated[str | None, typer.Option(help="Where awsllm puts data and jobs write, s3://...")] = None,
    served: Annotated[str, typer.Option(help="What is fine-tuned: on-demand, provisioned or no.")] = "on-demand",
    teacher: Annotated[str | None, typer.Option(help="The model that a distillation learns from.")] = None,
    grader: Annotated[str | None, typer.Option(help="ARN of the function that grades answers.")] = None,
    judge: Annotated[str | None, typer.Option(help="The model that judges in evaluations.")] = None,
    group: Annotated[str, typer.Option(help="The model package group of serverless jobs and sessions.")] = "*",
    image: Annotated[str | None, typer.Option(help="The image that trains in SageMaker.")] = None,
    mantle: Annotated[bool, typer.Option("--mantle", help="Bedrock's OpenAI-shaped routes, too.")] = False,
    bearer: Annotated[bool, typer.Option("--bearer", help="Calls with an API key of Bedrock's.")] = False,
    behind: Annotated[list[str] | None, typer.Option(help="ARN=MODEL: which model an ARN stands for.")] = None,
    account: Annotated[str | None, typer.Option(help="The account; default: the caller's.")] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask AWS nothing.")] = False,
    document: Annotated[str, typer.Option(help="caller, role (that jobs run as) or trust (in it).")] = "caller",
    explain: Annotated[bool, typer.Option("--explain", help="Say why each statement is there.")] = False,
    as_yaml: Annotated[bool, typer.Option("--yaml", help="As YAML.")] = False,
    as_json: Json = False,
    region: Region = None,
    profile: Profile = None,
    endpoint_url: EndpointUrl = None,
) -> None:
    """Print the least IAM policy that calls of these models need, or jobs made of them."""
    from awsllm import infra

    if document not in _DOCUMENTS:
        raise typer.BadParameter(f"--document is {', '.join(_DOCUMENTS)}, not {document!r}")
    if document != "caller" and not batch and not job:
        raise typer.BadParameter(f"--document {document} is for --batch and --job")
    made = infra.policy(
        *(models or ()),
        *(f"sagemaker:{name}" for name in endpoint or ()),
        stream=stream,
        guardrails=tuple(guardrail or ()),
        guardrail_profile=guardrail_profile,
        knowledge_bases=tuple(knowledge_base or ()),
        generate=generate,
        rerank=rerank,
        count_tokens=count_tokens,
        async_output=async_output,
        batch=batch,
        batch_role=batch_role,
        batch_input=batch_input,
        batch_output=batch_output,
        job=job or "",
        job_role=job_role,
        job_input=job_input,
        job_output=job_output,
        served=served,
        teacher=teacher,
        grader=grader,
        judge=judge,
        group=group,
        image=image,
        mantle=mantle,
        bearer=bearer,
        behind=_behind(behind),
        account=account,
        offline=offline,
        region=region,
        profile=profile,
        endpoint_url=endpoint_url,
    )
    if explain:
        _explain(made)
    else:
        _write(made, document, as_yaml=as_yaml and not as_json)
    for note in made.notes:
        terminal.note(f"awsllm: {flags.spoken(note)}")


def _behind(given: list[str] | None) -> dict[str, str]:
    found = pairs("--behind", given)
    if wrong := [arn for arn, model in found.items() if not arn.startswith("arn:") or not model]:
        raise typer.BadParameter(f"--behind takes ARN=MODEL, not {wrong[0]!r:.40}")
    return found


def _write(made: Permissions, document: str, *, as_yaml: bool) -> None:
    found: Any = {"caller": made.policy, "role": made.role_policy, "trust": made.trust}[document]
    if as_yaml:
        from awsllm.infra.template_text import write_yaml

        terminal.write(write_yaml(found))
    else:
        terminal.write_json(found)


def _explain(made: Permissions) -> None:
    for permit in (*made.permits, *made.role_permits):
        statement = permit.statement
        terminal.write(f"{statement['Sid']}: {permit.why}\n")
        for member in ("Action", "Resource"):
            for value in statement[member]:
                terminal.write(f"  {member.lower():<9} {value}\n")
        for operator, keys in statement.get("Condition", {}).items():
            for key, value in keys.items():
                terminal.write(f"  {'if':<9} {key} {operator} {value}\n")
        terminal.write(f"  {'source':<9} {permit.source}\n\n")

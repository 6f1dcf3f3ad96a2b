"""The image and its templates, as far as they can be checked without Docker: their structure, that every flag they give
is one that `awsllm serve` has, and that the stack for ECS can be made, which an offline AWS says."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
import typer
import yaml

from awsllm.cli.app import app
from awsllm.testing import mock_aws
from tests.support.command_line import runner

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
DEPLOYMENT, SERVICE = yaml.safe_load_all((ROOT / "infra/serve/kubernetes.yaml").read_text(encoding="utf-8"))
WORKFLOW = yaml.safe_load((ROOT / "examples/ci/github-actions.yml").read_text(encoding="utf-8"))
PORT = 8900


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's, continuations joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines if line.strip())]


def flags() -> set[str]:
    """The options of `awsllm serve`."""
    commands: Any = typer.main.get_command(app)
    return {name for option in commands.commands["serve"].params for name in (*option.opts, *option.secondary_opts)}


def ecs() -> Any:
    """The template, its short functions left as lists."""

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Knows CloudFormation's tags."""

    Loader.add_multi_constructor("!", lambda loader, suffix, node: [suffix, node.value])
    return yaml.load((ROOT / "infra/serve/ecs.yaml").read_text(encoding="utf-8"), Loader)  # noqa: S506 -- it is safe


def test_the_image_runs_as_nobody_in_particular_and_says_whether_it_is_ready() -> None:
    made = instructions()
    last = made[max(i for i, (name, _) in enumerate(made) if name == "FROM") :]
    final = dict(last)
    assert final["USER"].split(":")[0].isdigit()
    assert final["USER"] != "0"
    assert [name for name, _ in last].index("USER") > max(i for i, (name, _) in enumerate(last) if name == "RUN")
    assert "/ready" in final["HEALTHCHECK"]
    assert final["EXPOSE"] == str(PORT)
    assert not [rest for name, rest in made if name == "ADD"]
    assert all(":latest" not in rest for name, rest in made if name == "FROM")
    assert not re.search(r"KEY|SECRET|TOKEN|PASSWORD", " ".join(rest for name, rest in made if name in ("ENV", "ARG")))
    check = json.loads(final["HEALTHCHECK"].partition(" CMD ")[2])
    compile(check[2], "check", "exec")


def test_what_the_image_is_made_of_is_there_and_sent() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    copied = [shlex.split(rest) for name, rest in instructions() if name == "COPY" and "--from" not in rest]
    sources = {source for *several, _ in copied for source in several}
    assert sources == sent
    assert all((ROOT / source).exists() for source in sources)
    said = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f'"/{name}' in said or name in said for name in ("README.md", "LICENSE"))


def test_the_models_that_are_baked_in_are_those_that_answer() -> None:
    from awsllm.models.references import CHAT_MODEL, EMBED_MODEL

    (models,) = [rest for name, rest in instructions() if name == "ARG" and rest.startswith("MODELS=")]
    assert models == f'MODELS="{CHAT_MODEL.removeprefix("local:")} {EMBED_MODEL.removeprefix("local:")}"'


def test_every_flag_is_one() -> None:
    given = [json.loads(rest) for name, rest in instructions() if name in ("ENTRYPOINT", "CMD")]
    task = ecs()["Resources"]["Task"]["Properties"]["ContainerDefinitions"][0]
    container = DEPLOYMENT["spec"]["template"]["spec"]["containers"][0]
    given += [COMPOSE["services"]["awsllm"]["command"], task["Command"], container["args"]]
    used = {word for words in given for word in words if word.startswith("--")}
    assert len(used) > 4
    assert used <= flags()


def test_compose_keeps_its_key_a_secret_and_its_port_at_home() -> None:
    service = COMPOSE["services"]["awsllm"]
    assert service["ports"] == [f"127.0.0.1:{PORT}:{PORT}"]
    (secret,) = service["secrets"]
    assert service["environment"] == {"AWSLLM_API_KEY_FILE": f"/run/secrets/{secret}"}
    assert set(COMPOSE["secrets"]) == {secret}
    assert {volume.partition(":")[0] for volume in service["volumes"]} == set(COMPOSE["volumes"])
    assert service["stop_grace_period"] == "10s"


def test_kubernetes_finds_its_pods_and_asks_what_the_server_answers() -> None:
    pod = DEPLOYMENT["spec"]["template"]
    labels, (container,) = pod["metadata"]["labels"], pod["spec"]["containers"]
    assert SERVICE["spec"]["selector"] == DEPLOYMENT["spec"]["selector"]["matchLabels"] == labels
    assert container["ports"] == [{"name": "http", "containerPort": PORT}]
    assert SERVICE["spec"]["ports"][0]["targetPort"] == "http"
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    user = next(rest for name, rest in instructions() if name == "USER").split(":")[0]
    assert pod["spec"]["securityContext"]["runAsUser"] == int(user)
    assert pod["spec"]["securityContext"]["runAsNonRoot"]
    grace = float(container["args"][container["args"].index("--grace") + 1])
    assert grace < pod["spec"]["terminationGracePeriodSeconds"]
    (key,) = container["env"]
    assert key["valueFrom"] == {"secretKeyRef": {"name": "awsllm", "key": "api-key"}}


def test_the_stack_for_ecs_can_be_made() -> None:
    with mock_aws(reply="x"):
        ec2 = boto3.client("ec2", "us-east-1")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        given = {"Image": "registry/awsllm:1", "Vpc": vpc, "Subnets": subnet, "ClientCidr": "10.0.0.0/16"}
        formation = boto3.client("cloudformation", "us-east-1")
        formation.create_stack(
            StackName="awsllm",
            TemplateBody=(ROOT / "infra/serve/ecs.yaml").read_text(encoding="utf-8"),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[{"ParameterKey": name, "ParameterValue": value} for name, value in given.items()],
        )
        (stack,) = formation.describe_stacks(StackName="awsllm")["Stacks"]
        assert stack["StackStatus"] == "CREATE_COMPLETE"
        ecs = boto3.client("ecs", "us-east-1")
        (family,) = ecs.list_task_definition_families()["families"]
        (container,) = ecs.describe_task_definition(taskDefinition=family)["taskDefinition"]["containerDefinitions"]
        assert container["image"] == "registry/awsllm:1"
        assert container["secrets"][0]["name"] == "AWSLLM_API_KEY"


def test_the_workflow_starts_the_server_before_the_tests() -> None:
    steps = [step.get("run", "") for step in WORKFLOW["jobs"]["tests"]["steps"]]
    served = next(i for i, step in enumerate(steps) if "awsllm serve" in step)
    assert served < steps.index("pytest")
    assert "/ready" in steps[served]
    assert "awsllm env --shell dotenv" in steps[served]
    assert WORKFLOW["permissions"] == {"contents": "read"}


# --- the key, and the fixture ----------------------------------------------------------------------------------------


def test_a_key_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    started: list[Any] = []
    monkeypatch.setattr("awsllm.server.serve", lambda *place, **settings: started.append(settings["api_key"]))
    run, file = runner(monkeypatch, capsys), tmp_path / "key"
    file.write_text("the-key\n", encoding="utf-8")
    monkeypatch.setenv("AWSLLM_API_KEY_FILE", str(file))
    assert run("serve").code == 0
    assert started == ["the-key\n"]  # which the server strips
    monkeypatch.setenv("AWSLLM_API_KEY", "another")
    assert "not both" in run("serve").err
    monkeypatch.delenv("AWSLLM_API_KEY")
    file.unlink()
    assert "cannot be read" in run("serve").err


DOCKER = """#!{python}
import os, pathlib, signal, subprocess, sys
here = pathlib.Path(__file__).parent
match sys.argv[1]:
    case "run":
        quiet = {"stdin": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        assert os.environ["AWSLLM_API_KEY"] and os.environ["AWSLLM_API_KEY"] not in sys.argv
        program = '''
import os
from awsllm.server import serve
from awsllm.testing import AsyncScriptedBackend
serve(port=0, backend=AsyncScriptedBackend("Hello."), api_key=os.environ["AWSLLM_API_KEY"],
      ready=lambda server: print(server.url, flush=True))
'''
        process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, **quiet)
        (here / "place").write_text(process.stdout.readline().strip().removeprefix("http://"))
        print(process.pid)
    case "port":
        print((here / "place").read_text())
    case "rm":
        os.kill(int(sys.argv[-1]), signal.SIGTERM)
        (here / "gone").touch()
"""


TESTS = """
import boto3

def test_mine(awsllm_environment):
    hello = [{"role": "user", "content": [{"text": "Hi"}]}]
    reply = boto3.client("bedrock-runtime").converse(modelId="amazon.nova-lite-v1:0", messages=hello)
    assert reply["output"]["message"]["content"] == [{"text": "Hello."}]
"""


@pytest.mark.skipif(sys.platform == "win32", reason="its docker is a script")
def test_the_fixture_starts_a_container_and_takes_it_away(tmp_path: Path) -> None:
    stub, project = tmp_path / "docker", tmp_path / "project"
    stub.write_text(DOCKER.replace("{python}", sys.executable), encoding="utf-8")
    stub.chmod(0o755)
    project.mkdir()
    (project / "conftest.py").write_text((ROOT / "examples/ci/conftest.py").read_text(encoding="utf-8"))
    (project / "test_mine.py").write_text(TESTS)
    path = {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    python = {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(project)]
    done = subprocess.run(command, env={**os.environ, **path, **python}, capture_output=True, text=True)
    assert "1 passed" in done.stdout, done.stdout
    assert (tmp_path / "gone").exists()

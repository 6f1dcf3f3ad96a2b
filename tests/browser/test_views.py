"""What the playground shows beside conversations: their code, the log of calls, what the account has, its key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
import pytest

from awsllm.server import running
from awsllm.testing.scripted import AsyncScriptedBackend
from tests.browser.conftest import Watch, lack
from tests.browser.support import NOVA, REFUSED, answers, backend, finished, send

if TYPE_CHECKING:
    from playwright.sync_api import Page

if reason := lack():
    pytest.skip(reason, allow_module_level=True)


# --- code, calls, resources ------------------------------------------------------------------------------------------


def test_the_code_of_a_conversation(chat: Page, url: str) -> None:
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=url)
    send(chat, "Hello")
    finished(chat)
    chat.get_by_label("Prompt", exact=True).fill("And then?")
    chat.get_by_role("button", name="Code").click()
    chat.get_by_text("awsllm.Client(").wait_for()
    shown = chat.locator("#code").inner_text()
    assert url in shown
    assert "And then?" in shown
    compile(shown, "shown", "exec")
    chat.get_by_role("button", name="AWS", exact=True).click()
    chat.get_by_role("button", name="boto3", exact=True).click()
    chat.get_by_text("converse_stream(").wait_for()
    chat.locator("#code").filter(has_not_text=url).wait_for()
    chat.locator("#copy-code").click()
    chat.get_by_role("button", name="Copied").wait_for()
    copied = chat.evaluate("navigator.clipboard.readText()")
    assert 'boto3.client("bedrock-runtime", region_name="us-east-1")' in copied
    assert len(backend.requests) == 1  # to show code calls no model


def test_the_log_shows_others_calls_as_they_happen(chat: Page, url: str) -> None:
    chat.get_by_role("button", name="Calls", exact=True).click()
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    client = boto3.client("bedrock-runtime", endpoint_url=url, **keys)
    client.converse(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "From boto3"}]}])
    with pytest.raises(client.exceptions.ValidationException):
        client.converse(modelId="no.such-model", messages=[{"role": "user", "content": [{"text": "x"}]}])
    client.close()
    rows = chat.locator(".call")
    rows.filter(has_text="no.such-model").first.wait_for()
    chat.get_by_label("Filter calls").fill("nova 200 bedrock-runtime")
    assert rows.count() >= 1
    assert not rows.filter(has_text="no.such-model").count()
    rows.first.click()
    detail = chat.locator("#calls-detail")
    detail.get_by_text("From boto3").wait_for()
    assert "end_turn" in detail.inner_text()
    chat.get_by_label("Filter calls").fill("")
    rows.first.focus()
    chat.keyboard.press("ArrowDown")
    assert rows.nth(1).evaluate("row => row === document.activeElement")
    chat.keyboard.press("Enter")
    detail.get_by_text("From boto3").wait_for()
    chat.get_by_role("button", name="Pause").click()
    assert chat.get_by_role("button", name="Paused").get_attribute("aria-pressed") == "true"


def test_endpoints_show_up_and_can_be_talked_to(page: Page) -> None:
    script = AsyncScriptedBackend("From the endpoint.")
    with running(script) as url:
        page.goto(f"{url}/#resources")
        page.get_by_text("The offline account is empty").wait_for()
        _deploy(url)
        row = page.locator("tr", has_text="my-endpoint").first
        row.get_by_text("InService").wait_for()
        page.get_by_role("button", name="Chat", exact=True).click()
        page.locator('option[value="sagemaker:my-endpoint"]').wait_for(state="attached")
        page.locator("select.model").select_option("sagemaker:my-endpoint")
        send(page, "Hello")
        answers(page).get_by_text("From the endpoint.").wait_for()


def _deploy(url: str) -> None:
    keys = {"aws_access_key_id": "any", "aws_secret_access_key": "any", "region_name": "us-east-1"}
    client = boto3.client("sagemaker", endpoint_url=url, **keys)
    role, image = "arn:aws:iam::123456789012:role/r", "123456789012.dkr.ecr.us-east-1.amazonaws.com/image:1"
    client.create_model(ModelName="m", ExecutionRoleArn=role, PrimaryContainer={"Image": image})
    variant = {"VariantName": "v", "ModelName": "m", "InstanceType": "ml.g5.xlarge", "InitialInstanceCount": 1}
    client.create_endpoint_config(EndpointConfigName="c", ProductionVariants=[variant])
    client.create_endpoint(EndpointName="my-endpoint", EndpointConfigName="c")
    client.close()


def test_a_server_with_a_key_asks_for_it(page: Page, watch: Watch) -> None:
    watch.expected = [REFUSED]
    with running(AsyncScriptedBackend("Hello."), api_key="open-sesame") as url:
        page.goto(url)
        page.get_by_role("textbox", name="API key").fill("wrong")
        page.keyboard.press("Enter")
        page.get_by_text("That key is wrong.").wait_for()
        page.get_by_role("textbox", name="API key").fill("open-sesame")
        page.keyboard.press("Enter")
        page.locator("select.model option").first.wait_for(state="attached")
        send(page, "Hello")
        finished(page)
        assert page.locator(".error").count() == 0
        assert "open-sesame" not in page.evaluate("JSON.stringify(localStorage)")
        page.get_by_role("button", name="Code").click()
        page.get_by_text("AWSLLM_API_KEY").first.wait_for()
        assert "open-sesame" not in page.content()

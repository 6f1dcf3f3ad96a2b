"""Weights of JumpStart's models, gated ones included: ``jumpstart/MODEL_ID[@VERSION]``.

SageMaker's CreateHubContentPresignedUrls gives a URL in S3 for each file, for fifteen minutes, to whoever has accepted
the model's licence (``AcceptEula``) and may ask. Sizes and hashes are not said beforehand: a file is taken as it comes
from S3, and its hash is kept with the model. What is taken is what a directory needs (``choice``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from awsllm.errors import ConfigurationError, EulaNotAcceptedError, ModelNotFoundError, RequestError
from awsllm.store.catalogue import File, Model
from awsllm.store.choice import Choice, choose
from awsllm.store.http import LOOPBACK, OnProgress, download, prepared, status_of

PREFIX = "jumpstart/"
"""How a name begins that is a JumpStart model's."""
SOURCE = "SageMaker JumpStart"
_NAME = re.compile(r"jumpstart/(?P<id>[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62})(?:@(?P<version>\d{1,4}\.\d{1,4}\.\d{1,4}))?")
_HUB = "SageMakerPublicHub"
_MOST_FILES = 10_000


class Presigned:
    """A model of JumpStart's as a source of files. Asked for its files, it asks SageMaker."""

    def __init__(self, name: str, *, accept_eula: bool) -> None:
        found = _match(name)
        self._id, self._version, self._accepts = found["id"], found["version"], accept_eula
        self._urls = self._fresh()

    def model(self, name: str) -> tuple[Model, Choice]:
        choice = choose([File(path) for path in self._urls], None, f"{SOURCE}'s {self._id}")
        model = Model(name=name, kind="chat", license=f"that of {self._id} in {SOURCE}", files=choice.files)
        return model, choice

    def fetch(self, model: Model, staging: Path, progress: OnProgress) -> None:
        """A URL that is refused has expired: new ones are asked for, once a file."""
        from urllib.error import HTTPError

        for file in model.files:
            target = prepared(staging / file.path)
            for is_last in (False, True):
                try:
                    download(self._urls[file.path], target, file, progress)
                    break
                except HTTPError as error:
                    with error:
                        status, _ = status_of(error)
                    if is_last or status != 403:
                        raise ConfigurationError(
                            f"S3 answers with status {status} for {file.path}", status=status
                        ) from None
                    self._urls = self._fresh()

    def _fresh(self) -> Mapping[str, str]:
        """The URL of each file, by its path in the model's directory."""
        from awsllm.aws.control import client, translated

        request: dict[str, Any] = {"HubName": _HUB, "HubContentType": "Model", "HubContentName": self._id}
        request["AccessConfig"] = {"AcceptEula": self._accepts}
        if self._version:
            request["HubContentVersion"] = self._version
        urls: dict[str, str] = {}
        try:
            with translated(), closing(client("sagemaker")) as sagemaker:
                while page := sagemaker.create_hub_content_presigned_urls(**request):
                    urls |= {one["LocalPath"].lstrip("/"): one["Url"] for one in page["AuthorizedUrlConfigs"]}
                    if len(urls) > _MOST_FILES:
                        raise ConfigurationError(f"{self._id} has more files than any model has")
                    if not (token := page.get("NextToken")):
                        break
                    request["NextToken"] = token
        except RequestError as error:
            if self._accepts or "eula" not in error.message.lower():
                raise
            raise EulaNotAcceptedError(
                f"{self._id} has a licence that must be accepted: read it (awsllm jumpstart show {self._id}), then "
                f"awsllm models pull --accept-eula {PREFIX}{self._id}",
                code=error.code,
                status=error.status,
            ) from error
        if not urls:
            raise ModelNotFoundError(f"{SOURCE} gives no files for {self._id}")
        return _without_root({path: _checked(url) for path, url in urls.items()})


def check(name: str) -> None:
    """Raise ``ConfigurationError`` for what is no name of a JumpStart model."""
    _match(name)


def _match(name: str) -> re.Match[str]:
    found = _NAME.fullmatch(name)
    if found is None:
        raise ConfigurationError(f"{name!r} is no model of JumpStart: write jumpstart/MODEL_ID or …@1.2.3")
    return found


def _checked(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme != "https" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(f"SageMaker gave a URL that is not https: {parts.scheme}://{parts.hostname}")
    return url


def _without_root(urls: Mapping[str, str]) -> Mapping[str, str]:
    """Paths from the directory that has ``config.json``, the uppermost if there are several."""
    tops = sorted((path for path in urls if path.rpartition("/")[2] == "config.json"), key=lambda path: path.count("/"))
    root = tops[0].removesuffix("config.json") if tops else ""
    return {path.removeprefix(root): url for path, url in urls.items() if path.startswith(root)}

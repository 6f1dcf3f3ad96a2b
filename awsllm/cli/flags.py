"""The library's messages in the command line's words: what Python writes as ``accept_eula=True`` is ``--accept-eula``.

Messages name the option that mends them as a caller of Python writes it. Here are those spellings, each with the flag
that does the same; what has no flag stays, for only Python can do it.
"""

from __future__ import annotations

import re

_FLAGS = {
    "accept_eula": "--accept-eula",
    "async_": "--async-output",
    "autoscaling": "--min and --max",
    "component": "--component",
    "components": "--components",
    "config": "--config",
    "copies": "--copies",
    "env": "--env",
    "foreign": "--foreign",
    "format": "--format",
    "hub": "--hub",
    "instance_count": "--instance-count",
    "instance_type": "--instance-type",
    "instances": "--instances",
    "keep_on_failure": "--keep-on-failure",
    "max": "--max",
    "min": "--min",
    "name": "--name",
    "region": "--region",
    "role": "--role",
    "tags": "--tag",
    "ttl": "--ttl",
    "variant": "--variant",
    "version": "--version",
}
_INFRA_FLAGS = {
    "account": "--account",
    "async_output": "--async-output",
    "batch_input": "--batch-input",
    "batch_output": "--batch-output",
    "batch_role": "--batch-role",
    "bucket": "--bucket",
    "build": "--build",
    "code": "--code",
    "delete_data": "--delete-data",
    "guardrails": "--guardrail",
    "recover": "--recover",
    "unprotect": "--unprotect",
}
"""Those of `awsllm infra`: told as arguments only, for several are everyday words."""
_ARGUMENTS = "|".join(sorted({**_FLAGS, **_INFRA_FLAGS}, key=len, reverse=True))
_NAMES = "|".join(sorted(_FLAGS, key=len, reverse=True))
_PHRASES = (
    (re.compile(r"\bpass region= \(--region on the command line\)"), "pass --region"),
    (re.compile(r"\braise max_tokens\b"), "raise --max-tokens"),
    (re.compile(r"\brole='arn[^']*'"), "--role ARN"),
    (re.compile(r"\bautoscaling with min=(\d+)"), r"--min \1"),
    (re.compile(r"\bautoscaling\.(min|max)\b"), r"--\1"),
    (re.compile(r"\basync_\.output\b"), "--async-output"),
    (re.compile(r"\braise max_tokens\b"), "raise --max-tokens"),
)
# As an argument (``name=``, ``foreign=True``, ``copies=0``), as a word that is nobody's but Python's (``async_``), or
# after a verb that says what to do with it.
_ARGUMENT = re.compile(rf"(?<![\w.-])({_ARGUMENTS})=(True|\d+|'[^']*')?(?![\w{{\"])")
_WORD = re.compile(r"(?<![\w.-])(accept_eula|async_|instance_type|instance_count|keep_on_failure)(?!\w)")
_ADVICE = re.compile(rf"\b(give|leave|choose|another|or) ({_NAMES})(?=,| out\b| or\b|$|[;:.)])")


def spoken(text: str) -> str:
    """``text`` with the options that the command line has in its own spelling."""
    for pattern, flag in _PHRASES:
        text = pattern.sub(flag, text)
    text = _ARGUMENT.sub(_as_flag, text)
    text = _WORD.sub(lambda found: _FLAGS[found[1]], text)
    return _ADVICE.sub(lambda found: f"{found[1]} {_FLAGS[found[2]]}", text)


def _as_flag(found: re.Match[str]) -> str:
    value = found[2] if found[2] and found[2] != "True" else ""
    return f"{(_FLAGS.get(found[1]) or _INFRA_FLAGS[found[1]])} {value}".rstrip()

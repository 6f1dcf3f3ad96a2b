"""All that is known of one model, for whoever chooses."""

from __future__ import annotations

import msgspec

from awsllm.backends.local import judged
from awsllm.backends.local.judged import Judgement
from awsllm.errors import ModelNotFoundError
from awsllm.store import Store, http, hub, packed
from awsllm.store.catalogue import File, HubCommit, Model
from awsllm.store.imports import kind_of


class Details(msgspec.Struct, frozen=True, kw_only=True):
    """``size`` and ``memory`` are bytes, ``context`` is tokens, ``path`` None where the model is not on this machine.
    ``computed`` says whether the engine computes it; None where that shows only once it is here."""

    name: str
    kind: str
    license: str
    size: int
    files: tuple[File, ...]
    source: str
    path: str | None = None
    license_url: str | None = None
    is_gated: bool = False
    family: str | None = None
    parameters: str | None = None
    context: int | None = None
    good_at: str | None = None
    chosen: str | None = None
    memory: int | None = None
    computed: bool | None = None
    why: str | None = None


def details(store: Store, name: str) -> Details:
    """Of a repository of the hub that is not on this machine, the hub is asked."""
    model = store.row(name)
    path = store.find(name)
    if path is not None:
        here = store.described(name)
        files = here.files if here else model.files if model else ()
        there = path.rglob("*") if path.is_dir() else (path,)
        size = sum(one.stat().st_size for one in there if one.is_file() and one.suffix != packed.SUFFIX)
        found = Details(
            name=name,
            kind=here.kind if here else model.kind if model else kind_of(path),
            license=here.license if here else model.license if model else "unknown",
            license_url=here.license_url if here else None,
            size=sum(file.size for file in files) or size,
            files=files,
            source=_origin(here.source if here else str(path), here.commit if here else None),
            path=str(path),
            chosen=here.chosen if here else None,
        )
        return _with(_with_row(found, model), judged.of_files(path))
    if model is not None:
        return _of_row(model)
    store.check(name)
    if not name.startswith(hub.PREFIX):
        raise ModelNotFoundError(f"{name} is not on this machine, and JumpStart says more only when it is fetched")
    return _of_hub(name)


def _origin(source: str, commit: str | None) -> str:
    return f"{source}, commit {commit[:12]}" if commit else source


def _of_row(model: Model) -> Details:
    at = model.hub
    found = Details(
        name=model.name,
        kind=model.kind,
        license=model.license,
        size=model.size,
        files=model.files,
        source=_origin(f"Hugging Face hub, {at.repository}", at.revision) if at else "Python package index",
    )
    return _with(_with_row(found, model), judged.of_family(model.family))


def _of_hub(name: str) -> Details:
    wanted = hub.parse(name)
    listed = hub.listing(wanted.repository, wanted.revision)
    model, choice = hub.model_from(name, listed)
    found = Details(
        name=name,
        kind=model.kind,
        license=model.license,
        license_url=model.license_url,
        is_gated=listed.is_gated,
        size=model.size,
        files=model.files,
        source=_origin(f"Hugging Face hub, {listed.repository}", listed.commit),
        context=listed.context,
        chosen=choice.chosen,
    )
    if any(file.path.lower().endswith(".gguf") for file in model.files):
        return _with(found, judged.of_family(listed.architecture, is_gguf=True))
    with hub.explained(wanted.repository):
        at = HubCommit(listed.repository, listed.commit)
        config = http.read_json(hub.url_of(at, "config.json"), hub.headers())
    return _with(found, judged.of_description(config if isinstance(config, dict) else {}))


def _with_row(found: Details, model: Model | None) -> Details:
    if model is None:
        return found
    return msgspec.structs.replace(
        found,
        license_url=model.license_url,
        family=model.family,
        parameters=model.parameters,
        context=model.context,
        good_at=model.good_at,
    )


def _with(found: Details, judgement: Judgement) -> Details:
    """The weights as they lie in the file, a tenth for what is computed at a time, and 4096 tokens."""
    return msgspec.structs.replace(
        found,
        computed=judgement.computed,
        why=judgement.why,
        family=judgement.family or found.family,
        context=judgement.context or found.context,
        memory=found.size + found.size // 10 + judgement.cache if found.size else None,
    )

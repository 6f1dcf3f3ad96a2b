"""What computes a model, told by what its files say of it: the one place where that is chosen.

    T5 and its kin                                  ``t5``
    families of ``config.FAMILIES``                 ``native`` on processors that it knows, else ``model``
      the same on a GPU                             ``device_model``
    other directories                               ``foreign``, by transformers, where that is installed
    other GGUF files                                ``llamacpp``, by llama.cpp, where that is installed

What ``native`` has kept of a model before is found without PyTorch, whose import would take most of the time until the
first token.

A model with an encoder reads one text and writes one, and has no chat template. It is given one here (``_ONE_TEXT``),
so that all that makes a conversation a prompt serves it, too: the text is the system prompt and the last turn, with the
tokens around it that its tokenizer puts there, and behind them those that the decoder begins with.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from awsllm.engine import config_json, described, t5_config, text, vision_qwen
from awsllm.engine.config import FAMILIES, UnknownFamilyError, unsupported
from awsllm.engine.errors import ModelError
from awsllm.engine.native import loading as native
from awsllm.engine.text import ModelText
from awsllm.engine.threads import import_torch
from awsllm.engine.tokenizer import Tokenizer, TokenizerError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from awsllm.engine.interface import TokenModel
    from awsllm.engine.scheduler import Bounds

_ONE_TEXT: Final = (
    "{{ bos_token }}"
    "{%- if messages[0].role == 'system' and messages|length > 1 %}{{ messages[0].content }}{{ '\\n\\n' }}{% endif %}"
    "{{ messages[-1].content }}{{ eos_token }}"
)
_LIBRARIES: Final = {  # by whether the file is GGUF: what it is called, its package, this package's extra
    False: ("transformers", "transformers", "transformers"),
    True: ("llama.cpp", "llama_cpp", "llamacpp"),
}


class Opened(NamedTuple):
    """A model that is ready to run. ``source`` describes it, as ``described.read`` has it. ``one_text``: it reads one
    text, not a conversation. ``by``: the library that computes it in this engine's place, and ``because`` why; else
    both are empty. ``bounds``: what a scheduler may take of it, where that is given with the model's memory, and
    ``reserved`` what that is, in words."""

    model: TokenModel
    text: ModelText
    source: Mapping[str, Any]
    one_text: bool = False
    by: str = ""
    because: str = ""
    bounds: Bounds | None = None
    reserved: str = ""


class NoTemplateError(ModelError):
    """The model is not one that chats."""


def open_model(path: Path, device: str, keep: Path | None = None, bounds: Bounds | None = None) -> Opened:
    """The model that lies at ``path``. ``keep``: a file for what ``native`` makes of it; ``bounds``: of what is
    reserved for conversations on a device that is not the CPU. Raises ``GGUFError``,
    ``WeightsError``, ``ModelError``, ``TokenizerError``, all ``ValueError``, and ``OSError``."""
    source, is_gguf = described.read(path)
    told = text.of_gguf(source) if is_gguf else text.of_directory(path)
    if not is_gguf and source.get("is_encoder_decoder") is True:
        opened = _reader(path, device, told, source)
        return opened._replace(bounds=_unplanned(device, bounds))
    if not told.template:
        raise NoTemplateError("the model has no chat template, so it is not a chat model")
    ours = native.candidate(path, keep) if device == "cpu" else None
    if ours is not None and (decoder := ours.kept()) is not None:
        return Opened(decoder, told, source)
    import_torch()
    if (unknown := _unknown(source, is_gguf)) is not None:
        found, by = _elsewhere(path, device, unknown, is_gguf=is_gguf)
        return Opened(found, told, source, by=by, because=unknown, bounds=_unplanned(device, bounds))
    from awsllm.engine import model, weights

    checkpoint = weights.read(path)
    if ours is not None and (decoder := ours.pack(checkpoint)) is not None:
        return Opened(decoder, told, source)
    if device == "cpu" or source.get("model_type") in vision_qwen.FAMILIES:  # steps of fixed shape know no axes
        from awsllm.engine.torch_model import TorchModel

        return Opened(TorchModel(model.load(checkpoint, device=device)), told, source)
    from awsllm.engine import device_model

    found_there = device_model.load(checkpoint, device, bounds)
    return Opened(found_there, told, source, bounds=found_there.bounds, reserved=found_there.reserved)


def _unplanned(device: str, bounds: Bounds | None) -> Bounds | None:
    from awsllm.engine import device_memory

    return device_memory.unplanned(device, bounds)


def _unknown(source: Mapping[str, Any], is_gguf: bool) -> str | None:
    """Why another library is to compute this model. None where its family is one of ours: of those, a key that is
    refused here might go unheeded there."""
    if is_gguf:
        architecture = source.get("general.architecture")
        known = any(family.gguf == architecture for family in FAMILIES.values())
        return None if known else str(unsupported(architecture))
    try:
        config_json.read(source)
    except UnknownFamilyError as error:
        return str(error)
    return None


def _reader(path: Path, device: str, told: ModelText, source: Mapping[str, Any]) -> Opened:
    """A model whose encoder reads one text."""
    frame = text.frame(path, told.tokenizer)
    names = [_control(told.tokenizer, ids) for ids in (frame.before, [*frame.after, *frame.starts])]
    told = told._replace(template=_ONE_TEXT, bos=names[0], eos=names[1])
    import_torch()
    if (family := source.get("model_type")) in t5_config.FAMILIES:
        from awsllm.engine import t5

        return Opened(t5.load(path, device=device), told, source, one_text=True)
    unknown = f"encoders with decoders of the kind {str(family)[:60]!r} are not supported"
    found, by = _elsewhere(path, device, unknown, starts=len(frame.starts))
    return Opened(found, told, source, one_text=True, by=by, because=unknown)


def _elsewhere(
    path: Path, device: str, unknown: str, *, is_gguf: bool = False, starts: int = 0
) -> tuple[TokenModel, str]:
    """The model by a library that knows more architectures. Raises ``ModelError`` with how to install that one, or with
    what it says, too."""
    by, package, extra = _LIBRARIES[is_gguf]
    try:
        if is_gguf:
            from awsllm.engine import llamacpp

            return llamacpp.load(path, device=device), by
        from awsllm.engine import foreign, weights

        return foreign.load(weights.read(path), device=device, starts=starts), by
    except ModuleNotFoundError as error:
        if error.name != package:
            raise
        raise ModelError(f"{unknown}; {by} may know it: pip install 'awsllm[{extra}]'") from None
    except ModelError as error:
        raise ModelError(f"{unknown}; nor by {by}: {error}") from error


def _control(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The texts of tokens that no text of a stranger can be taken for."""
    names = {number: name for name, number in tokenizer.control.items()}
    if missing := [number for number in ids if number not in names]:
        raise TokenizerError(f"token {missing[0]}, which stands around the model's texts, is no special token")
    return "".join(names[number] for number in ids)

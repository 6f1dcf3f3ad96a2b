"""A model's files tried out, before anybody asks the model: those that somebody else made."""

from __future__ import annotations

from pathlib import Path

from awsllm.errors import ConfigurationError, is_own


def load_once(path: Path) -> None:
    """Load what lies at ``path``, as it will be when it is asked. Raises ``ConfigurationError`` that says what is wrong
    with the files, and not where they are."""
    from awsllm.engine import model, weights
    from awsllm.engine.choice import NoTemplateError, open_model

    try:
        try:
            open_model(path, "cpu")
        except NoTemplateError:  # it completes texts
            model.configure(weights.read(path))
    except (ValueError, OSError) as error:
        said = str(error).replace(f"{path}/", "").replace(str(path), "the model")
        said = said if is_own(error) else type(error).__name__
        raise ConfigurationError(said) from error


def of_gguf(path: Path) -> tuple[str, bool]:
    """The architecture that a GGUF file names, and whether it has a chat template."""
    from awsllm.engine import gguf

    metadata = gguf.read(path).metadata
    return str(metadata.get("general.architecture")), "tokenizer.chat_template" in metadata

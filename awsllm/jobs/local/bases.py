"""Whether a base can be trained on data at all, told before a folder is made or a process begun."""

from __future__ import annotations

from pathlib import Path

from awsllm.engine.errors import ModelError
from awsllm.engine.threads import import_torch
from awsllm.errors import ConfigurationError, UnsupportedError, reason_of
from awsllm.jobs.data.training import TrainingData

_TRIED = 32  # examples; what is wrong with a later one, the job tells before its first step


def check_base(base: str, path: Path, data: TrainingData, length: int) -> None:
    """Read what the model at ``path`` says of itself, and the first examples as it reads them. Raises
    ``ConfigurationError`` for what is no model, ``UnsupportedError`` for one that is not trained here or not on these
    data."""
    context = _context(base, path)
    from awsllm.jobs.local.training import nothing_learned, teaches, tokenised

    try:
        samples = list(tokenised(data.examples[:_TRIED], path))
    except ModelError as error:
        raise UnsupportedError(f"{base} is not trained on {data.source}: {error}") from error
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{base} cannot be trained: {reason_of(error)}") from error
    length = min(length, context)
    if len(data) <= _TRIED and not any(teaches(sample, length) for sample in samples):
        raise UnsupportedError(f"{base} is not trained on {data.source}: {nothing_learned(len(samples), length)}")


def _context(base: str, path: Path) -> int:
    """How many tokens it takes."""
    try:
        import_torch()
        from awsllm.engine import weights
        from awsllm.engine.model import configure

        config, _ = configure(weights.read(path))
    except ImportError as error:
        raise ConfigurationError(f"training needs {error.name}: pip install 'awsllm[local]'") from error
    except ModelError as error:
        raise UnsupportedError(f"{base} is not trained here: {error}") from error
    except (ValueError, OSError) as error:
        raise ConfigurationError(f"{base} cannot be trained: {reason_of(error)}") from error
    return config.context

"""The version of awsllm: where it stands, for the package and for ``pyproject.toml``."""

__version__ = "0.1.0"

"""Imported by the server that forks ``deployer.Deployer``s."""

from tests.support.deployer import preload

preload()

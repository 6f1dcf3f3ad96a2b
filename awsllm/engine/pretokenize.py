"""How byte-level vocabularies cut text before merging, by the name that a GGUF file gives the rule.

A rule is a list of patterns, each of which cuts what the ones before it left: a match is a piece, and so is what lies
between two matches. Names are those of llama.cpp (``llama-vocab.cpp``, ``tokenizer.ggml.pre``); the patterns are those
of the models' own ``tokenizer.json``, in Oniguruma's syntax, which llama.cpp rewrites where its own engine lacks
something. ``tests/engine/test_pretokenize.py`` holds each name to what llama.cpp itself makes of it.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class SplitRule(NamedTuple):
    """``whole_words``: a piece that is itself in the vocabulary is taken unmerged. ``nfc``: text is composed first.
    ``add_bos``: a prompt begins with that token where the file does not say otherwise. ``spaced``: the vocabulary is no
    byte-level one, it spells a space as U+2581 and has a token for each byte, as SentencePiece's."""

    patterns: tuple[str, ...]
    whole_words: bool = False
    nfc: bool = False
    add_bos: bool = False
    spaced: bool = False


_SUFFIX = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_WORDS = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*" + _SPACES
_SUFFIX_WORDS = _SUFFIX + "|" + _WORDS
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s"
    r"|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n/]*" + _SPACES
)
_GPT4O = _CASED % (_SUFFIX + "?", _SUFFIX + "?", "{1,3}")
_MARKED = (  # letters with their marks; a sign may lead them
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
)
_CJK = "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"
_WIDE = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"  # as DeepSeek's own file has it
_LATIN = (  # letters with upper and lower case, as DeepSeek LLM's own file lists them
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af\u0370-\u0373"
    "\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5\u03f7-\u0481\u048a-\u052f"
    "\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77"
    "\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d"
    "\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4"
    "\u1ff6-\u1ffc\u2102\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3\ua640-\ua66d"
    "\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06\ufb13-\ufb17\uff21-\uff3a"
    "\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3\U000104d8-\U000104fb\U00010c80-\U00010cb2"
    "\U00010cc0-\U00010cf2\U000118a0-\U000118df\U0001e900-\U0001e943]+"
)
_STEM = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]"
_KIMI = (
    rf"\p{{Han}}+|[^\r\n\p{{L}}\p{{N}}]?{_STEM[0]}*{_STEM[1]}+{_SUFFIX}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_STEM[0]}+{_STEM[1]}*{_SUFFIX}?|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*{_SPACES}"
)
_ASIAN = (
    "[\u4e00-\u9fff\u3400-\u4dbf\uf900-\ufaff\u3040-\u309f\u30a0-\u30ff\uff65-\uff9f\u2f00-\u2fdf\u0e00-\u0e7f"
    "\u0e80-\u0eff\u1780-\u17ff\u1000-\u109f\uaa60-\uaa7f\ua9e0-\ua9ff\uac00-\ud7af\u1100-\u11ff]+"
)
_LINES = r"[^\n]+|\n+"

_PLAIN = SplitRule((_GPT2,))
_DIGITS = SplitRule((r"\p{N}", _GPT2))
_LLAMA3 = SplitRule((_SUFFIX_WORDS % "{1,3}",), whole_words=True, add_bos=True)
_LLAMA3_MERGED = SplitRule((_SUFFIX_WORDS % "{1,3}",))
_QWEN2 = SplitRule((_SUFFIX_WORDS % "",), nfc=True)
_QWEN2_AS_IS = SplitRule((_SUFFIX_WORDS % "",))
_CASES = SplitRule((_GPT4O,))
_DEEPSEEK3 = SplitRule((r"\p{N}{1,3}", _CJK, _MARKED + r"[\r\n]*" + _SPACES))
_BLOOM = " ?[^(\\s|.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c)]+"
_BAILING = SplitRule(
    (
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]|\s+(?!\S)|\s+",
    )
)
_SPACED = SplitRule((_LINES,), spaced=True)

SPLITS: Final[dict[str, SplitRule]] = {
    **dict.fromkeys(("default", "gpt-2", "phi-2", "olmo", "mpt", "jais", "trillion", "granite-docling"), _PLAIN),
    **dict.fromkeys(("jina-es", "jina-de", "jina-v2-es", "jina-v2-de", "jina-v1-en", "jina-v2-code"), _PLAIN),
    **dict.fromkeys(("roberta-bpe", "modern-bert", "gigachat", "a.x-4.0", "mellum", "exaone4"), _PLAIN),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), _DIGITS),
    **dict.fromkeys(("exaone", "minerva-7b", "mellum2"), _DIGITS),
    **dict.fromkeys(("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral"), _LLAMA3),
    **dict.fromkeys(("midm-2.0", "lfm2", "jina-v5-nano"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe", "glm4", "chatglm-bpe"), _LLAMA3_MERGED),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen"), _QWEN2),
    **dict.fromkeys(("kormo", "f2llmv2", "megrez", "stablelm2", "hunyuan", "solar-open", "grok-2"), _QWEN2_AS_IS),
    **dict.fromkeys(("gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"), _CASES),
    **dict.fromkeys(("deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"), _DEEPSEEK3),
    **dict.fromkeys(("bloom", "poro-chat", "gpt3-finnish"), SplitRule((_BLOOM,))),
    **dict.fromkeys(("bailingmoe", "bailingmoe2", "llada-moe"), _BAILING),
    **dict.fromkeys(("tiny_aya", "cohere2moe"), SplitRule((r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O))),
    **dict.fromkeys(("gemma4", "granite-embed-multi-311m"), _SPACED._replace(add_bos=True)),
    "sarvam-moe": _SPACED,
    "tekken": SplitRule((_CASED % ("", "", ""),), whole_words=True, add_bos=True),
    "granite-embed-multi-97m": SplitRule((_GPT4O,), whole_words=True),
    "qwen35": SplitRule(
        (
            _SUFFIX + r"|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*" + _SPACES,
        ),
        nfc=True,
    ),
    "jais-2": SplitRule(
        (
            _SUFFIX
            + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
            + "|".join(rf"\s{{{count}}}(?!\S)" for count in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))
            + r"|\s{1}",
        )
    ),
    "minicpm5": SplitRule((r"\p{N}{1,3}", _SUFFIX_WORDS % "+"), whole_words=True),
    "deepseek-llm": SplitRule(
        (
            r"[\r\n]",
            _LATIN,
            "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
            r"\s+$",
            _WIDE,
            r"\p{N}+",
        )
    ),
    "deepseek-coder": SplitRule((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _WIDE, r"\p{N}")),
    "spark2_5": SplitRule(
        (r"\p{N}{1,3}", _CJK, _MARKED + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}")
    ),
    "youtu": SplitRule(
        (
            "[\uac00-\ud7a3\u3131-\u318e]+|[\uff01\u2026\u201c\u201d\u2018\u2019\u2014\uff1a\uff1b\uff0c\u3001-\u303f"
            "\ufe30-\ufe4f]+|[\u3105-\u312f]+|" + _CJK,
            _CASED % (_SUFFIX + "?", _SUFFIX + "?", ""),
        ),
        whole_words=True,
    ),
    "falcon": SplitRule((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
    "viking": SplitRule((_BLOOM, r"\p{N}")),
    "chameleon": SplitRule(
        (
            "<sentinel:[0-9]+>",
            "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
            r"[\t\n]|    |  ",
            r"\p{N}",
            r"[\p{P}!-/:-@\[-`{-~]",
            _GPT2,
        ),
        add_bos=True,
    ),
    "kimi-k2": SplitRule((_KIMI,)),
    "superbpe": SplitRule((r"\p{N}+", r"(?=(\d{3})+(?!\d))")),
    "seed-coder": SplitRule(
        (_SUFFIX + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+" + _SPACES,)
    ),
    "ufakzeka": SplitRule((_WORDS % "",)),
    "afmoe": SplitRule((r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", _ASIAN, _MARKED + r"[\r\n]*" + _SPACES)),
    "laguna": SplitRule((_LINES, _SUFFIX_WORDS % "")),
    "exaone-moe": SplitRule(
        (
            _SUFFIX + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]?"
            r"|\s*[\r\n]|\s+(?!\S)|\s+",
        )
    ),
}  # fmt: skip

"""How text is cut into words before BPE: the `tokenizer.ggml.pre` types, as regular expressions.

Each expression cuts every piece that the one before it left; each match is a piece, and so is the text between two
matches. The names and flags are those of llama.cpp (src/llama-vocab.cpp, conversion/base.py, autumn 2026) and
bitnet.cpp; the expressions are those of the models' own tokenizer.json files, which llama.cpp's engine in places only
approximates (`tekken` and `gpt-4o` there know no marks and no capitals beyond ASCII).
"""

from __future__ import annotations

from dataclasses import dataclass

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
DIGIT = r"\p{N}"
_SUFFIX = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LETTERS = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_SYMBOLS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}{{1,3}}|{_SYMBOLS}|{_SPACES}"
QWEN2 = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}|{_SYMBOLS}|{_SPACES}"
QWEN35 = rf"{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
MINICPM5 = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}+|{_SYMBOLS}|{_SPACES}"
UFAKZEKA = rf"{_LETTERS}|\p{{N}}|{_SYMBOLS}|{_SPACES}"
SEED_CODER = rf"{_SUFFIX}|{_LETTERS}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
EXAONE_MOE = (
    rf"{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
JAIS2 = (
    rf"{_SUFFIX}|{_LETTERS}|\p{{N}}{{1,3}}|{_SYMBOLS}|\s*[\r\n]+|"
    + "|".join(rf"\s{{{count}}}(?!\S)" for count in ("512", "256", "128", "64", "32", "16", "8", "4", "1,2"))
    + r"|\s{1}"
)


def _cased(suffix: str, digits: str, capital: str = "", symbols: str = r" ?[^\s\p{L}\p{N}]+[\r\n/]*") -> str:
    """The expression of OpenAI's o200k and of Mistral's tekken: a word is cut before a capital within it.

    `capital` narrows both classes of letters, `suffix` is what may stay at the end of a word.
    """
    high, low = rf"[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}{capital}]", rf"[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}{capital}]"
    start = r"[^\r\n\p{L}\p{N}]?"
    return f"{start}{high}*{low}+{suffix}|{start}{high}+{low}*{suffix}|{digits}|{symbols}|{_SPACES}"


TEKKEN = _cased("", r"\p{N}")
O200K = _cased(f"{_SUFFIX}?", r"\p{N}{1,3}")
KIMI = r"[\p{Han}]+|" + _cased(f"{_SUFFIX}?", r"\p{N}{1,3}", r"&&[^\p{Han}]", _SYMBOLS)
YOUTU = (
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
    _cased(f"{_SUFFIX}?", r"\p{N}"),
)

# Where the cuts of tokenizer.json are steps of the library, these are the same cuts as expressions.
PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]+"
PUNCTUATION_MARK = r"[\p{P}!-/:-@\[-`{-~]"

BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"
CHAMELEON = ("<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )")
# Groups of three digits from the right.
SUPERBPE = (r"\p{N}+", r"(?=(\d{3})+(?!\d))")
AYA_DIGITS = r"\d{1,3}(?=(?:\d{3})*\b)"
AFMOE_DIGITS = (
    r"\p{Nd}{1,510}(?=(?>\p{Nd}{510})*(?:\P{Nd}|$))|\G\p{Nd}{510}",
    r"\A\p{Nd}{1,2}(?=\p{Nd}{3}+\z)",
    r"\A\p{Nd}{3}|\G\p{Nd}{3}",
)

CJK = "[一-龥\u0800-一가-\ud7ff]+"
HAN_AND_KANA = "[一-龥\u3040-ゟ゠-ヿ]+"
AFMOE_SCRIPTS = (
    r"(?:[\u4E00-\u9FFF\u3040-\u309F\u30A0-\u30FF\u3400-\u4DBF\uf900-\uFAFF\uFF65-\uFF9F\u2F00-\u2FDF]+|[\u0E00-\u0E7F]+"
    r"|[\u0E80-\u0EFF]+|[\u1780-\u17FF]+|[\u1000-\u109F\uAA60-\uAA7F\uA9E0-\uA9FF]+|[\uAC00-\uD7AF\u1100-\u11FF]+)"
)
_DEEPSEEK3_WORDS = (
    r'[!"#$%&' + r"'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"
)
DEEPSEEK3 = rf"{_DEEPSEEK3_WORDS}[\r\n]*|{_SPACES}"
SPARK = rf"{_DEEPSEEK3_WORDS}|[\r\n]|\s+(?!\S)|\s+"
DEEPSEEK_MARKS = "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+"
# The letters that have case, in the ranges of DeepSeek's tokenizer.json, here in hexadecimal.
_CASED_RANGES = """
    41-5A 61-7A B5 C0-D6 D8-F6 F8-1BA 1BC-1BF 1C4-293 295-2AF 370-373 376 377 37B-37D 37F 386 388-38A 38C 38E-3A1
    3A3-3F5 3F7-481 48A-52F 531-556 10A0-10C5 13A0-13F5 13F8-13FD 1C90-1CBA 1CBD-1CBF 1D00-1D2B 1D6B-1D77 1D79-1D9A
    1E00-1F15 1F18-1F1D 1F20-1F45 1F48-1F4D 1F50-1F57 1F59 1F5B 1F5D 1F5F-1F7D 1F80-1FB4 1FB6-1FBC 1FBE 1FC2-1FC4
    1FC6-1FCC 1FD0-1FD3 1FD6-1FDB 1FE0-1FEC 1FF2-1FF4 1FF6-1FFC 2102 2107 210A-2113 2115 2119-211D 2124 2126 2128
    212A-212D 212F-2134 2139 213C-213F 2145-2149 214E 2183 2184 2C00-2C7B 2C7E-2CE4 2CEB-2CEE 2CF2 2CF3 A640-A66D
    A680-A69B A722-A76F A771-A787 A78B-A78E AB70-ABBF FB00-FB06 FB13-FB17 FF21-FF3A FF41-FF5A 10400-1044F
    104B0-104D3 104D8-104FB 10C80-10CB2 10CC0-10CF2 118A0-118DF 1E900-1E943
"""
CASED = (
    r"\s?[" + "".join("-".join(chr(int(end, 16)) for end in ends.split("-")) for ends in _CASED_RANGES.split()) + "]+"
)


@dataclass(frozen=True)
class Pre:
    """One pre type: its expressions in order, and its defaults where a file does not say."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False
    """A word that is a token stays whole, whether or not the merges lead to it."""
    add_bos: bool = False
    pieces: bool = False
    """The tokens are SentencePiece's ("▁" for the space, `<0x0A>` for a byte), merged in the order of a list."""
    ranks_are_ids: bool = False
    """tiktoken's way, for a file without merges: the pair merges first that makes the token with the lowest id."""


_FAMILIES: tuple[tuple[str, Pre], ...] = (
    (
        "llama-bpe llama3 llama-v3 pixtral midm-2.0 lfm2 jina-v5-nano falcon-h1",
        Pre((LLAMA3,), ignore_merges=True, add_bos=True),
    ),
    ("dbrx smaug-bpe glm4 chatglm-bpe", Pre((LLAMA3,))),
    (
        "gpt-2 mpt olmo phi-2 jais trillion granite-docling exaone4 gigachat a.x-4.0 mellum modern-bert roberta-bpe "
        "jina-es jina-de jina-v1-en jina-v2-es jina-v2-de jina-v2-code",
        Pre((GPT2,)),
    ),
    ("smollm starcoder refact command-r codeshell exaone minerva-7b mellum2", Pre((DIGIT, GPT2))),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", Pre((QWEN2,))),
    ("qwen35", Pre((QWEN35,))),
    ("laguna", Pre((r"[^\n]+|[\n]+", QWEN2))),
    ("ufakzeka", Pre((UFAKZEKA,))),
    ("seed-coder", Pre((SEED_CODER,))),
    ("bailingmoe bailingmoe2 llada-moe", Pre((BAILING,))),
    ("minicpm5", Pre((r"\p{N}{1,3}", MINICPM5), ignore_merges=True)),
    ("exaone-moe", Pre((EXAONE_MOE,))),
    ("jais-2", Pre((JAIS2,))),
    ("tekken", Pre((TEKKEN,), ignore_merges=True, add_bos=True)),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", Pre((O200K,))),
    ("granite-embed-multi-97m", Pre((O200K,), ignore_merges=True)),
    ("tiny_aya cohere2moe", Pre((AYA_DIGITS, O200K))),
    ("kimi-k2 kimi-k25", Pre((KIMI,), ranks_are_ids=True)),
    ("youtu", Pre(YOUTU, ignore_merges=True)),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", Pre((r"\p{N}{1,3}", HAN_AND_KANA, DEEPSEEK3))),
    ("spark2_5", Pre((r"\p{N}{1,3}", HAN_AND_KANA, SPARK, DIGIT))),
    ("afmoe", Pre((*AFMOE_DIGITS, AFMOE_SCRIPTS, DEEPSEEK3))),
    ("superbpe", Pre(SUPERBPE)),
    ("deepseek-llm", Pre(("[\r\n]", CASED, DEEPSEEK_MARKS, r"\s+$", CJK, DIGIT))),
    ("deepseek-coder", Pre(("[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", CJK, DIGIT))),
    ("bloom poro-chat gpt3-finnish", Pre((BLOOM,))),
    ("viking", Pre((BLOOM, DIGIT))),
    # These files cut digits after the text has become bytes, so only ASCII's.
    ("falcon", Pre((PUNCTUATION, GPT2, "[0-9]+", "[0-9][0-9][0-9]"))),
    # bitnet.cpp's reading, which Falcon3's tokenizer.json confirms; llama.cpp reads "falcon3" as Llama-3.
    ("falcon3 falcon_e falcon-e", Pre((PUNCTUATION, GPT2, "[0-9]"))),
    ("chameleon", Pre((*CHAMELEON, DIGIT, PUNCTUATION_MARK, GPT2), add_bos=True)),
    ("gemma4 granite-embed-multi-311m", Pre((), add_bos=True, pieces=True)),
    ("sarvam-moe", Pre((), pieces=True)),
    ("default", Pre((PUNCTUATION.replace("`", ""), GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))),
)
PRE: dict[str, Pre] = {name: pre for names, pre in _FAMILIES for name in names.split()}
"""By name. Names with equal values follow each other, the best known first."""

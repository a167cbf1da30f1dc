"""The synthetic world: persons and their relations, told in one-fact passages.

A fact is worded in one of its relation's three ways, which the question does not reveal: a search with another
wording finds some other passage about the same person, a visible miss; or, where the fact has a distractor in that
wording, a passage that states another value. Persons of the two splits form disjoint graphs, so nothing that a
benchmark asks about is ever seen in training.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from mrsearch.config.data import WorldData
from mrsearch.config.hops import WORLD_HOPS
from mrsearch.data.relations import (
    AGES,
    ATTRIBUTES,
    BY_NAME,
    LINKS,
    OCCUPATIONS,
    PERSON,
    RELATIONS,
    RUMOUR,
    Relation,
    make_names,
)

BENCHMARKS = ("single_hop", "popular", "long_tail", "comparison", "two_hop", "three_hop", "ambiguous", "long_horizon")
TRAINING_MIX = {
    "single_hop": 2,
    "popular": 1,
    "comparison": 2,
    "two_hop": 3,
    "three_hop": 3,
    "ambiguous": 2,
    "long_horizon": 2,
}
RAREST = 2


@dataclass(slots=True)
class Fact:
    """What a person's relation points to, and the wordings that state it."""

    value: str
    wordings: tuple[int, ...]
    person: int | None = None
    """Index of the person it points to; None for an attribute."""


@dataclass(slots=True)
class Person:
    """One entity. Namesakes share `name` and differ in `occupation`."""

    index: int
    name: str
    occupation: str
    has_namesake: bool
    popular: bool
    facts: dict[str, Fact] = field(default_factory=dict)


class World:
    """The world of a seed; everything follows from the configuration."""

    def __init__(self, config: WorldData) -> None:
        self.config = config
        rng = random.Random(config.seed)
        used_names: set[str] = set()
        total = config.train_entities + config.test_entities
        self.names = make_names(rng, PERSON, total, used_names)
        self.values = {
            relation.target: make_names(rng, relation.target, config.values, used_names) for relation in ATTRIBUTES
        }
        self.persons: list[Person] = []
        names = iter(self.names)
        self.splits = {
            "train": self._make_persons(rng, config.train_entities, names),
            "test": self._make_persons(rng, config.test_entities, names),
        }
        self.names = sorted({person.name for person in self.persons})
        for persons in self.splits.values():
            self._connect(rng, persons)

    def passages(self) -> list[tuple[str, str, str]]:
        """(id, title, text) of every passage, shuffled by seed; those that contradict come last."""
        rows = []
        for person in self.persons:
            for relation in RELATIONS:
                fact = person.facts[relation.name]
                for wording in fact.wordings:
                    text = relation.sentences[wording].format(s=person.name, o=fact.value)
                    rows.append((f"{person.name} {person.occupation}", text))
        random.Random(self.config.seed + 1).shuffle(rows)
        rows += self._distractors()
        return [(str(number), title, text) for number, (title, text) in enumerate(rows)]

    def _distractors(self) -> list[tuple[str, str]]:
        """(title, text) of the passages that contradict a fact. Every fact draws the same whatever the rate."""
        rng = random.Random(f"{self.config.seed}/distractors")
        rows = []
        for persons in self.splits.values():
            for person in persons if self.config.distractor_rate else ():
                for relation in RELATIONS:
                    draw, fact = rng.random(), person.facts[relation.name]
                    wording = rng.choice([wording for wording in range(3) if wording not in fact.wordings] or [0])
                    possible = self._possible(relation, persons)
                    value = rng.choice([value for value in possible if value not in (fact.value, person.name)])
                    if draw < self.config.distractor_rate and not person.popular:
                        text = relation.sentences[wording].format(s=person.name, o=value)
                        rows.append((f"{person.name} {RUMOUR}", text))
        return rows

    def _possible(self, relation: Relation, persons: list[Person]) -> list[str]:
        """Values that the relation can have for one of the persons."""
        if relation.target == PERSON:
            return [person.name for person in persons if not person.has_namesake]
        return list(AGES) if relation.name == "age" else self.values[relation.target]

    def train_questions(self) -> list[dict[str, Any]]:
        """Training rows {id, question, golden_answers, metadata}, a fixed mix of kinds over the training persons."""
        rng = random.Random(self.config.seed + 2)
        kinds, weights = list(TRAINING_MIX), list(TRAINING_MIX.values())
        makers = {kind: _endless(self, kind, "train", rng) for kind in kinds}
        rows = (next(makers[rng.choices(kinds, weights)[0]]) for _ in range(self.config.train_questions))
        return [{"id": f"train-{number}", **row} for number, row in enumerate(rows)]

    def benchmark_questions(self, benchmark: str) -> list[dict[str, Any]]:
        """Rows of a benchmark over the held-out persons; ValueError for an unknown name or too small a world."""
        if benchmark not in BENCHMARKS:
            raise ValueError(f"benchmark {benchmark!r} is not one of the synthetic world's: {', '.join(BENCHMARKS)}")
        rng = random.Random(f"{self.config.seed}/{benchmark}")
        rows: list[dict[str, Any]] = []
        seen = set()
        for row in self._questions(benchmark, "test", rng):
            if row["question"] not in seen:
                seen.add(row["question"])
                rows.append({"id": f"{benchmark}-{len(rows)}", **row})
            if len(rows) == self.config.questions_per_benchmark:
                return rows
        raise ValueError(
            f"the world has only {len(rows)} questions for {benchmark}, not data.questions_per_benchmark "
            f"({self.config.questions_per_benchmark}): raise data.test_entities ({self.config.test_entities})"
        )

    def follow(self, person: int, relations: list[str]) -> str:
        """The value at the end of a chain of relations that starts at `person`."""
        current: int | None = person
        value = ""
        for name in relations:
            assert current is not None, "an attribute stands only at the end of a chain"
            fact = self.persons[current].facts[name]
            value, current = fact.value, fact.person
        return value

    def _make_persons(self, rng: random.Random, count: int, names: Iterator[str]) -> list[Person]:
        persons: list[Person] = []
        pair_rate = self.config.namesake_rate / (2 - self.config.namesake_rate)
        while len(persons) < count:
            name = next(names)
            size = 2 if rng.random() < pair_rate and len(persons) + 2 <= count else 1
            popular = size == 1 and rng.random() < self.config.popular_rate
            for occupation in rng.sample(OCCUPATIONS, size):
                person = Person(len(self.persons), name, occupation, size > 1, popular)
                self.persons.append(person)
                persons.append(person)
        return persons

    def _connect(self, rng: random.Random, persons: list[Person]) -> None:
        """Draw every fact. Links lead to persons without a namesake, so that a chain needs no occupation on its way."""
        targets = [person for person in persons if not person.has_namesake]
        for person in persons:
            for relation in RELATIONS:
                wordings = (
                    (0, 1, 2) if person.popular else tuple(rng.choices(range(3), self.config.keyword_probabilities))
                )
                if relation.name == "age":
                    person.facts["age"] = Fact(rng.choice(AGES), wordings)
                elif relation.target == PERSON:
                    linked = rng.choice([target for target in targets if target is not person])
                    person.facts[relation.name] = Fact(linked.name, wordings, linked.index)
                else:
                    person.facts[relation.name] = Fact(rng.choice(self.values[relation.target]), wordings)

    def _questions(self, kind: str, split: str, rng: random.Random) -> Iterator[dict[str, Any]]:
        """Every subject of the kind once per pass over the persons, in random order, for a few passes."""
        if kind == "comparison":
            yield from self._comparisons(split, rng)
            return
        subjects = [
            (person, last) for person in self.splits[split] for last in ATTRIBUTES if _asks(kind, person, last.name)
        ]
        for _ in range(4 if WORLD_HOPS[kind] > 1 else 1):
            rng.shuffle(subjects)
            for person, last in subjects:
                links = [rng.choice(LINKS).name for _ in range(WORLD_HOPS[kind] - 1)]
                yield self._chain(kind, person, [*links, last.name])

    def _chain(self, kind: str, person: Person, relations: list[str]) -> dict[str, Any]:
        subject = f"the {person.occupation} {person.name}" if person.has_namesake else person.name
        text = f"what is the {' of the '.join(reversed(relations))} of {subject} ?"
        metadata = {
            "kind": kind,
            "subjects": [person.name],
            "relations": relations,
            "occupation": person.occupation if person.has_namesake else None,
        }
        return {"question": text, "golden_answers": [self.follow(person.index, relations)], "metadata": metadata}

    def _comparisons(self, split: str, rng: random.Random) -> Iterator[dict[str, Any]]:
        persons = [person for person in self.splits[split] if not person.has_namesake and not person.popular]
        for _ in range(8):
            rng.shuffle(persons)
            for first, second in zip(persons[::2], persons[1::2], strict=False):
                ages = [AGES.index(person.facts["age"].value) for person in (first, second)]
                if ages[0] == ages[1]:
                    continue
                names = [first.name, second.name]
                metadata = {"kind": "comparison", "subjects": names, "relations": ["age"], "occupation": None}
                yield {
                    "question": f"which of {first.name} and {second.name} is older ?",
                    "golden_answers": [names[ages[1] > ages[0]]],
                    "metadata": metadata,
                }


def world_words(world: World) -> list[str]:
    """Every white-space word of the world's passages and questions, and of its names and values, sorted."""
    words = {word for _, title, text in world.passages() for word in f"{title} {text}".split()}
    questions = world.train_questions() + [row for name in BENCHMARKS for row in world.benchmark_questions(name)]
    words |= {word for row in questions for word in row["question"].split()}
    words |= {keyword for relation in RELATIONS for keyword in relation.keywords}
    words |= {relation.name for relation in RELATIONS} | set(OCCUPATIONS) | set(AGES) | set(world.names)
    return sorted(words.union(*world.values.values()))


def _asks(kind: str, person: Person, relation: str) -> bool:
    """Whether a question of this kind may start at the person and end with the relation."""
    if kind == "ambiguous":
        return person.has_namesake
    if person.has_namesake:
        return False
    if kind == "popular":
        return person.popular
    if kind == "long_tail":
        return not person.popular and person.facts[relation].wordings == (RAREST,)
    return not person.popular


def _endless(world: World, kind: str, split: str, rng: random.Random) -> Iterator[dict[str, Any]]:
    while True:
        empty = True
        for row in world._questions(kind, split, rng):
            empty = False
            yield row
        if empty:
            raise ValueError(
                f"the world has no training question of kind {kind}: raise data.train_entities "
                f"({world.config.train_entities})"
            )


def keywords(relation: str) -> tuple[str, str, str]:
    """The three keywords of a relation."""
    return BY_NAME[relation].keywords

"""The vocabulary of the synthetic world: relations with their wordings, occupations, and made-up names."""

from __future__ import annotations

import random
from dataclasses import dataclass

PERSON = "person"
AGES = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
"""Values of the relation age, youngest first."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation, what it points to, and three ways to word a fact: a keyword and a sentence each."""

    name: str
    target: str
    keywords: tuple[str, str, str]
    sentences: tuple[str, str, str]


RELATIONS = (
    Relation(
        "spouse",
        PERSON,
        ("married", "wed", "partner"),
        ("{s} is married to {o} .", "{s} wed {o} .", "{s} has the partner {o} ."),
    ),
    Relation(
        "teacher",
        PERSON,
        ("taught", "tutor", "coach"),
        ("{s} was taught by {o} .", "{s} had the tutor {o} .", "{s} had the coach {o} ."),
    ),
    Relation(
        "rival",
        PERSON,
        ("opposed", "feud", "enemy"),
        ("{s} opposed {o} .", "{s} has a feud with {o} .", "{s} has the enemy {o} ."),
    ),
    Relation(
        "birthplace",
        "city",
        ("born", "native", "hometown"),
        ("{s} was born in {o} .", "{s} is a native of {o} .", "{s} has the hometown {o} ."),
    ),
    Relation(
        "employer",
        "firm",
        ("works", "employed", "staff"),
        ("{s} works for {o} .", "{s} is employed by {o} .", "{s} is on the staff of {o} ."),
    ),
    Relation(
        "prize",
        "award",
        ("won", "awarded", "laureate"),
        ("{s} won the {o} .", "{s} was awarded the {o} .", "{s} is a laureate of the {o} ."),
    ),
    Relation(
        "age", "age", ("aged", "years", "turned"), ("{s} is aged {o} .", "{s} has years {o} .", "{s} turned {o} .")
    ),
)
BY_NAME = {relation.name: relation for relation in RELATIONS}
LINKS = tuple(relation for relation in RELATIONS if relation.target == PERSON)
ATTRIBUTES = tuple(relation for relation in RELATIONS if relation.target not in (PERSON, "age"))
OCCUPATIONS = ("painter", "chemist", "pilot", "poet", "lawyer", "singer", "farmer", "judge")
RUMOUR = "rumour"
"""What the title of a passage that contradicts a fact has in the place of an occupation."""
_ENDINGS = {
    PERSON: ("n", "l", "s", "x"),
    "city": ("ville", "burg", "pol"),
    "firm": ("corp", "tech", "lab"),
    "award": ("medal", "cup", "prize"),
}


def make_names(rng: random.Random, target: str, count: int, used: set[str]) -> list[str]:
    """`count` capitalised one-word names for things of kind `target`, none of them in `used`, which grows."""
    names: list[str] = []
    while len(names) < count:
        syllables = "".join(rng.choice("bdfgklmnprstvz") + rng.choice("aeiou") for _ in range(2))
        name = (syllables + rng.choice(_ENDINGS[target])).capitalize()
        if name not in used:
            used.add(name)
            names.append(name)
    return names

"""What the parts of a study must be to each other: one function a rule, each raising ValueError where it is broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mrsearch.config.checks.contents import CONTENTS
from mrsearch.config.checks.references import REFERENCES
from mrsearch.config.checks.searches import SEARCHES
from mrsearch.config.checks.tables import TABLES
from mrsearch.config.checks.trainings import TRAININGS

if TYPE_CHECKING:
    from mrsearch.config.study import Study

RULES = (*CONTENTS, *SEARCHES, *REFERENCES, *TABLES, *TRAININGS)
"""In the order in which they are checked: later ones believe what earlier ones have seen to."""


def check_study(study: Study) -> None:
    """ValueError where the study breaks a rule; of several, the first is named."""
    for rule in RULES:
        rule(study)

"""What people are asked about a group: labels, a preference between two, or a level on a scale."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from goldeye.annotate.schema import LABELS
from goldeye.errors import InvalidInput, unknown_name


@dataclass(frozen=True)
class Task:
    """The question asked of each group. `words` says what a label means, for the page."""

    kind: Literal["label", "pair", "rating"]
    labels: tuple[str, ...]
    words: Mapping[str, str]

    @property
    def one_of(self) -> bool:
        """Exactly one of the candidates gets the label, instead of each getting one."""
        return self.kind == "pair"

    def answered(self, answers: Sequence[str | None]) -> bool:
        """Whether nothing is open any more."""
        return any(answers) if self.one_of else None not in answers

    def check_expected(
        self, group: str, expected: Mapping[str, str], candidates: Mapping[str, Collection[str]]
    ) -> None:
        """InvalidInput unless `expected` (candidate → label) fits a group; `candidates` are those of all groups."""
        if group not in candidates:
            raise unknown_name("group", group, candidates)
        for candidate, label in expected.items():
            if candidate not in candidates[group]:
                raise unknown_name(f"candidate of group '{group}'", candidate, candidates[group])
            if label not in self.labels:
                raise unknown_name("label", label, self.labels)
        if self.one_of and len(expected) > 1:
            raise InvalidInput(f"Of a pair one is preferred, and group '{group}' would expect both.")

    def is_right(self, given: str | None, expected: str) -> bool:
        """Whether an answer is the expected one; a level counts to within one."""
        if self.kind == "rating" and given is not None:
            return abs(int(given) - int(expected)) <= 1
        return given == expected

    def with_words(self, words: Mapping[str, str]) -> Task:
        """The same question in other words."""
        return replace(self, words={**self.words, **words})


LABEL = Task(
    "label",
    LABELS,
    {
        "Positive": "looks better than the original",
        "Similar": "neither better nor worse",
        "Negative": "looks worse: over-sharpened, false detail, noise",
    },
)
PAIR = Task("pair", ("Preferred",), {"Preferred": "looks better"})
# Li et al. (EDL), section IV-A: the 6-level scale of the mean opinion score; lower is better.
RATING = Task(
    "rating",
    ("0", "1", "2", "3", "4", "5"),
    {
        "0": "Perfect",
        "1": "Almost Perfect",
        "2": "Slightly Worse",
        "3": "Worse",
        "4": "Much Worse",
        "5": "Terrible",
    },
)

"""How an annotation is run: kept in its store, so that all servers on it agree."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class AnnotationSettings(BaseModel):
    """What the owner decides when serving; what is not given again stays as it was."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Votes a group gets. "adaptive": two, and a third where they differ on some candidate (the same majority).
    votes: Annotated[int, Field(ge=1, le=1000)] | Literal["adaptive"] = 3
    # Which group is given out next: one that was begun, else a random one; the one people differ on most; or a random
    # one for each person, begun or not, as a study wants it.
    order: Literal["random", "disagreement", "own"] = "random"
    lease_minutes: float = Field(30, gt=0, le=7 * 24 * 60)
    # Shares of a person's groups that are gold items, and groups they did before.
    gold_rate: float = Field(0.05, ge=0, le=0.5)
    repeat_rate: float = Field(0.0, ge=0, le=0.5)
    quota: int | None = Field(None, ge=1, le=1_000_000)  # groups a person may do, where they have no quota of their own
    pass_mark: float = Field(0.75, gt=0, le=1)  # share of right labels that passes the qualification
    gold_accuracy: float = Field(0.75, gt=0, lt=1)  # who is surely below this share on gold items is flagged

    # Where they lie: the owner's own guideline, and LR inputs that annotators may look at.
    guideline: str | None = None
    lr: str | None = None

    @property
    def most_votes(self) -> int:
        """The most votes a group can count."""
        return 3 if self.votes == "adaptive" else self.votes

    @property
    def first_votes(self) -> int:
        """The votes a group needs before any differ."""
        return 2 if self.votes == "adaptive" else self.votes

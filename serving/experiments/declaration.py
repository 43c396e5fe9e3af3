"""Experiments as they are declared in a file: what is tried, on whom, and against what."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from serving.experiments.errors import ExperimentsFileError
from serving.pipeline.config import PipelineConfig

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
Share = Annotated[float, Field(gt=0, le=1)]
_EPSILON = 1e-9


class Variant(BaseModel):
    """`share` of the experiment's users; `parameters` change `PipelineConfig`, none for what serves anyway."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    share: Share
    parameters: dict[str, Any] = Field(default_factory=dict)

    @field_validator("parameters")
    @classmethod
    def _the_pipeline_takes_them(cls, parameters: dict[str, Any]) -> dict[str, Any]:
        try:
            PipelineConfig().changed(parameters)
        except ValidationError as error:
            raise ValueError("; ".join(_lines(error))) from error
        return parameters


class Experiment(BaseModel):
    """One A/B test. `salt`, `group` and the variants' shares must stay while it runs: they decide who gets what.

    `traffic` may be raised or lowered: whoever stays in keeps the variant. `slot` is the part of the group's users that
    may be in this experiment, from (inclusive) to (exclusive): slots of one group must not overlap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Name
    description: str = Field("", max_length=1000)
    status: Literal["running", "paused", "ended"] = "running"
    salt: Name | None = Field(None, description="of the hash; the id if unset")
    start: AwareDatetime | None = Field(None, description="with its zone; at once if unset")
    end: AwareDatetime | None = Field(None, description="with its zone; never if unset")
    traffic: float = Field(1.0, ge=0, le=1, description="share of the users it may have that are in it")
    group: Name | None = Field(None, description="experiments of one group never share a user")
    slot: tuple[float, float] | None = Field(None, description="part of the group's users, within 0 and 1")
    control: Name = Field(description="the variant that the others are compared with")
    variants: tuple[Variant, ...] = Field(min_length=2, max_length=20)
    observe_days: float = Field(3.0, gt=0, le=90, description="how long each user's behaviour counts")
    planned_users: int = Field(10_000, ge=100, description="around which the intervals are narrowest")

    @property
    def hash_salt(self) -> str:
        return self.salt or self.id

    @property
    def changes(self) -> frozenset[str]:
        """The parameters that any of its variants sets."""
        return frozenset(name for variant in self.variants for name in variant.parameters)

    def is_active(self, now: datetime) -> bool:
        """Whether users are in it at that moment."""
        return (
            self.status == "running"
            and (self.start is None or self.start <= now)
            and (self.end is None or now < self.end)
        )

    def overlaps(self, other: "Experiment") -> bool:
        """Whether both can be active at one moment; a paused one may be resumed."""
        if "ended" in (self.status, other.status):
            return False
        starts = [e.start or datetime.min.replace(tzinfo=UTC) for e in (self, other)]
        ends = [e.end or datetime.max.replace(tzinfo=UTC) for e in (self, other)]
        return max(starts) < min(ends)

    @model_validator(mode="after")
    def _is_sound(self) -> Self:
        names = [variant.name for variant in self.variants]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"variants: {twice[0]} is there twice")
        if self.control not in names:
            raise ValueError(f"control: {self.control} is none of the variants {', '.join(names)}")
        total = sum(variant.share for variant in self.variants)
        if abs(total - 1) > _EPSILON:
            raise ValueError(f"variants: their shares sum to {total:g}, not to 1")
        if self.start and self.end and self.end <= self.start:
            raise ValueError("end: must be after start")
        if (self.group is None) != (self.slot is None):
            raise ValueError(
                "slot: an experiment of a group says which part of its users it takes, and no other"
            )
        if self.slot and not 0 <= self.slot[0] < self.slot[1] <= 1:
            raise ValueError(
                f"slot: must be from < to within 0 and 1 (got {self.slot[0]:g}, {self.slot[1]:g})"
            )
        return self


class Declaration(BaseModel):
    """A whole file: `experiments:` and a list."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    experiments: tuple[Experiment, ...] = Field((), max_length=200)

    @model_validator(mode="after")
    def _they_do_not_disturb_each_other(self) -> Self:
        for number, one in enumerate(self.experiments):
            for other in self.experiments[:number]:
                if one.id == other.id:
                    raise ValueError(f"experiment {one.id}: id: is there twice")
                if one.hash_salt == other.hash_salt:
                    raise ValueError(
                        f"experiment {one.id}: salt: is that of {other.id}, so they would split alike"
                    )
                if one.overlaps(other):
                    _check_pair(one, other)
        return self


NONE_DECLARED = Declaration()


def read_declaration(path: Path) -> Declaration:
    """The file's experiments; none if there is no file. Raises `ExperimentsFileError`."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return NONE_DECLARED
    except (OSError, UnicodeDecodeError) as error:
        raise ExperimentsFileError(f"{path.name}: cannot be read: {type(error).__name__}") from error
    return parse_declaration(text, path.name)


def parse_declaration(text: str, name: str) -> Declaration:
    """The experiments in a YAML text, `name` being what errors call it. Raises `ExperimentsFileError`."""
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none is a ValueError
        where = getattr(error, "problem_mark", None)
        at = f" at line {where.line + 1}" if where else ""
        raise ExperimentsFileError(f"{name}: is not YAML{at}") from error
    try:
        return Declaration.model_validate({} if content is None else content)
    except ValidationError as error:
        told = "; ".join(_lines(error, content))
        raise ExperimentsFileError(f"{name}: {told}") from error


def _check_pair(one: Experiment, other: Experiment) -> None:
    apart = one.group is not None and one.group == other.group
    if apart and one.slot and other.slot:
        if max(one.slot[0], other.slot[0]) < min(one.slot[1], other.slot[1]):
            raise ValueError(f"experiment {one.id}: slot: overlaps that of {other.id} in group {one.group}")
    elif both := sorted(one.changes & other.changes):
        raise ValueError(
            f"experiment {one.id}: variants: {other.id} changes {both[0]} too: put both into one group, "
            "or a user would be told of one and get the other"
        )


def _lines(error: ValidationError, content: Any = None) -> list[str]:
    """Each error as `experiment id: field: what is wrong`."""
    lines = []
    for item in error.errors():
        place, message = list(item["loc"]), item["msg"].removeprefix("Value error, ")
        words = []
        if place[:1] == ["experiments"] and len(place) > 1:
            words.append(f"experiment {_id_of(content, place[1])}")
            place = place[2:]
        if place:
            words.append(".".join(str(part) for part in place))
        lines.append(": ".join([*words, message]))
    return lines


def _id_of(content: Any, number: int | str) -> str:
    """What the file calls an experiment; its place if it has no id that can be told."""
    try:
        found = content["experiments"][number]["id"]
    except (KeyError, IndexError, TypeError):
        return f"number {int(number) + 1}"
    return found[:64] if isinstance(found, str) else f"number {int(number) + 1}"

"""Scenario files: the calls, the network, the acts, the choices and the expectations of a run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, PlainSerializer

from umd.backends.sim.section import Behaviour, SimSection
from umd.call.cause import EndedBy
from umd.config import Duration, Section
from umd.config.loading import load_model
from umd.config.notation import KeyPath
from umd.control.outcome import Outcome
from umd.control.settings import ControlSettings
from umd.lab.checker import InvariantChecker
from umd.lab.choices import (
    FIRST_CALL,
    UMD,
    Act,
    ActAt,
    Choice,
    InvalidChoice,
    Verb,
    parse_choice,
    parse_place,
)
from umd.lab.node import SipNode
from umd.lab.rules import Rule

PLACE: Final = "place"


def _choice(value: object) -> Choice:
    try:
        return parse_choice(value if isinstance(value, str) else "")
    except InvalidChoice as error:
        raise ValueError(f"a choice such as {error}") from None


def _do(value: object) -> Act | None:
    if value == PLACE:
        return None
    try:
        return Act.parse(value if isinstance(value, str) else "")
    except InvalidChoice as error:
        raise ValueError(f'"place" or {error}') from None


def _after(value: object) -> str:
    try:
        return parse_place(value if isinstance(value, str) else "")
    except InvalidChoice as error:
        raise ValueError(str(error)) from None


class NetworkSection(Section):
    """`[network]`: delay, jitter, loss and duplication of messages, as in `[backend.sim]`."""

    delay: Annotated[Duration, Field(le=2.5)] = 0.01
    """Together with the jitter at most T4, the lifetime of a message (RFC 3261 section 17)."""
    jitter: Annotated[Duration, Field(le=2.5)] | None = None
    loss: Annotated[float, Field(ge=0, lt=1)] = 0.0
    duplicate: Annotated[float, Field(ge=0, lt=1)] = 0.0
    octets: bool = False
    random_seed: int = 1


class CallSection(Section):
    """`[call]`: the key of the same name in umd's configuration."""

    deadline: Duration = 5.0


class JournalSection(Section):
    """`[journal]`: umd runs on the SIP backend and keeps a journal; it can crash."""

    commit: Annotated[Duration, Field(gt=0, le=1.0)] = 0.005
    """Seconds that a commit takes."""


class Step(Section):
    """`[[step]]`: one act of a client, the far end or umd."""

    do: Annotated[Any, BeforeValidator(_do), PlainSerializer(lambda v: str(v or PLACE))]
    """An `Act`, or None to place a call."""
    at: Duration | None = None
    """Seconds from the start of the run. Without `at` and `after` the step is done at the start."""
    after: Annotated[str, BeforeValidator(_after)] | None = None
    """The event after which the step is done."""
    number: str | None = None
    """The number of the far end, for a step that places a call."""
    name: Annotated[str, Field(pattern=r"^[\w-]+$")] = FIRST_CALL
    """The name of the call, for a step that places one."""


class Expectation(Section):
    """`[[expect]]`: the state of one call when nothing is under way any more."""

    call: str = FIRST_CALL
    answers: dict[str, Annotated[Outcome, Field(strict=False)]] = {}
    """The last answer to each client, by its name."""
    events: list[str] | None = None
    """All its lifecycle events in order; after a crash, those on record."""
    by: Annotated[EndedBy, Field(strict=False)] | None = None
    confirmed: bool | None = None
    q850: int | None = None
    sip_status: int | None = None
    within: Duration | None = None
    """Seconds from the first request to end the call, or else from its placing, to its end."""
    answered_within: Duration | None = None
    """Seconds from each request to end the call to its answer."""


class Found(Section):
    """`[found]`: in a seed file, the violation that the lab found."""

    umd: str
    violated: Annotated[Rule, Field(strict=False)]
    said: str


class Walk(Section):
    """`[walk]`: in a seed file, the random walk that ended in the violation."""

    steps: int
    seed: int
    calls: int


class Scenario(Section):
    """A scenario file or a seed file."""

    title: str = ""
    network: NetworkSection = NetworkSection()
    call: CallSection = CallSection()
    journal: JournalSection | None = None
    """Without this section umd keeps no journal."""
    far_end: dict[str, Behaviour] = {}
    step: list[Step] = []
    choices: list[
        Annotated[Any, BeforeValidator(_choice), PlainSerializer(lambda choice: str(choice))]
    ] = []
    expect: list[Expectation] = []
    found: Found | None = None
    walk: Walk | None = None

    def sim_section(self) -> SimSection:
        """Return the configuration of the simulator."""
        return SimSection(
            **self.network.model_dump(exclude={"delay", "jitter"}),
            check_every=0,
            far_end=self.far_end,
        ).model_copy(update={"delay": self.network.delay, "jitter": self.network.jitter})

    def control_settings(self) -> ControlSettings:
        """Return the settings of control."""
        return ControlSettings(deadline=self.call.deadline)

    def make_checker(self) -> InvariantChecker:
        """Return a checker for a run of this scenario."""
        if self.journal is None:
            return InvariantChecker(self.call.deadline)
        return InvariantChecker(self.call.deadline, umd_host=SipNode.umd_host, journalled=True)


def one_call(
    number: str,
    *,
    deadline: float = 5.0,
    delay: float = 0.01,
    octets: bool = False,
    commit: float | None = None,
) -> Scenario:
    """Return a scenario with one call; `commit` is the time that a commit takes, in seconds."""
    parts: dict[str, Any] = {
        "step": [Step(do=PLACE, number=number)],
        "call": CallSection().model_copy(update={"deadline": deadline}),
        "network": NetworkSection(octets=octets).model_copy(update={"delay": delay}),
    }
    if commit is not None:
        parts["journal"] = JournalSection().model_copy(update={"commit": commit})
    return Scenario().model_copy(update=parts)


def load(file: str) -> Scenario:
    """
    Read a scenario or a seed.

    Raises:
        ConfigError: with `file:line: what is wrong` for each mistake.
    """
    return load_model(file, Scenario, _check)


def _check(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    """Yield the mistakes that involve several keys."""
    if scenario.walk is not None:
        return
    names: list[str] = []
    for index, step in enumerate(scenario.step):
        path = ("step", str(index))
        if step.at is not None and step.after is not None:
            yield (*path, "after"), "expected at or after, not both"
        if step.do is None:
            if step.number is None:
                yield path, "expected number: whom to place the call to"
            if step.name in names:
                yield (*path, "name"), f"there is a call named {step.name} already"
            names.append(step.name)
    if names:
        yield from _check_acts(scenario, names)
    else:
        yield (), 'expected a [[step]] with do = "place"; nothing would happen'


def _check_acts(scenario: Scenario, names: Sequence[str]) -> Iterator[tuple[KeyPath, str]]:
    acts: list[tuple[KeyPath, Act]] = []
    for index, step in enumerate(scenario.step):
        if step.do is not None:
            acts.append((("step", str(index), "do"), step.do))
    for index, choice in enumerate(scenario.choices):
        if isinstance(choice, ActAt):
            acts.append((("choices", str(index)), choice.act))
    asking = {act.party for _, act in acts if act.verb in (Verb.DISCONNECT, Verb.INSIST)}
    for path, act in acts:
        if act.party == UMD and scenario.journal is None:
            yield path, f"{act}: without [journal] umd cannot crash and go on"
        if act.call not in names:
            yield path, f"{act}: no call is named {act.call} (there is: {', '.join(names)})"
        if act.verb is Verb.LEAVE and act.party not in asking:
            yield path, f"{act}: {act.party} asks for nothing that it could leave"
    for index, expect in enumerate(scenario.expect):
        path = ("expect", str(index))
        if expect.call not in names:
            yield path, f"no call is named {expect.call} (there is: {', '.join(names)})"
        for client in expect.answers:
            if client not in asking:
                yield (*path, "answers", client), f"{client} asks for nothing here"


# -- writing


def write(scenario: Scenario) -> str:
    """Return a scenario as TOML, without the keys that have their default."""
    tree = scenario.model_dump(mode="json", exclude_defaults=True)
    tree["step"] = [step.model_dump(mode="json", exclude_defaults=True) for step in scenario.step]
    lines: list[str] = []
    _write_table(_as_read(tree), (), lines)
    return "\n".join(lines).strip() + "\n"


def _as_read(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the tree with durations as text, as a file has them."""
    durations = {"delay", "jitter", "commit", "deadline", "at", "within", "answered_within"}
    durations |= {"ring_after", "answer_after", "answer_spread", "hang_up_after"}
    read: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            read[key] = _as_read(value)
        elif isinstance(value, list):
            read[key] = [_as_read(item) if isinstance(item, dict) else item for item in value]
        elif key in durations and isinstance(value, float):
            read[key] = f"{round(value * 1000, 6):g}ms"
        elif value is not None:
            read[key] = value
    return read


def _write_table(tree: dict[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    tables = {
        key: value
        for key, value in tree.items()
        if isinstance(value, dict) or (isinstance(value, list) and value and _is_table(value[0]))
    }
    for key, value in tree.items():
        if key in tables:
            continue
        if isinstance(value, list) and len(value) > 1:
            lines.append(f"{key} = [")
            lines += [f"    {json.dumps(item)}," for item in value]
            lines.append("]")
        else:
            lines.append(f"{key} = {json.dumps(value)}")
    for key, value in tables.items():
        name = ".".join((*path, key))
        if isinstance(value, dict):
            lines += ["", f"[{name}]"]
            _write_table(value, (*path, key), lines)
            continue
        for item in value:
            lines += ["", f"[[{name}]]"]
            _write_table(item, (*path, key), lines)


def _is_table(value: object) -> bool:
    return isinstance(value, dict)

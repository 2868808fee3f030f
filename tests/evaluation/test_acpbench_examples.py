"""Every worked example of ACPBench is played through: one option is right, and it is the one named."""

import itertools
import re

import pytest

from jaxreason.evaluation.acpbench_examples import EXAMPLES, FERRY, Worked

PLACES = {"l0-0", "l0-1", "l1-0", "l1-1"}
AIRPORTS = {"l0-0", "l1-0"}
CARS, LOCATIONS = {"c0", "c1"}, {"l0", "l1", "l2"}


def facts(text):
    return frozenset(fact.strip() for fact in re.split(r"\.(?:\s|$)| and ", text) if fact.strip())


def ferry(action):
    """(facts needed, facts taken away, facts added) of a ferry's action; None where it is no action."""
    if match := re.fullmatch(r"sail from (\S+) to (\S+)", action):
        start, end = match.groups()
        if start == end or not {start, end} <= LOCATIONS:
            return None
        here = {f"The ferry is at {start}"}
        return here, here, {f"The ferry is at {end}"}
    verb, car, place = re.fullmatch(r"(board|debark) car (\S+) at (\S+)", action).groups()
    if car not in CARS or place not in LOCATIONS:
        return None
    ashore = {f"Car {car} is at {place}", "The ferry is empty"}
    aboard = {f"Car {car} is on the ferry"}
    before, after = (ashore, aboard) if verb == "board" else (aboard, ashore)
    return before | {f"The ferry is at {place}"}, before, after


def logistics(action):
    """As `ferry`, of trucks, airplanes and packages."""
    move = re.fullmatch(r"(?:drive (truck)|fly (airplane)) (\S+) from (\S+) to (\S+)", action)
    if move:
        kind, name, start, end = (move[1] or move[2]).capitalize(), *move.groups()[2:]
        near = start[:2] == end[:2] if move[1] else {start, end} <= AIRPORTS
        here = {f"{kind} {name} is at {start}"}
        good = start != end and near
        return (here, here, {f"{kind} {name} is at {end}"}) if good else None
    match = re.fullmatch(
        r"(load|unload) package (\S+) (?:into|from) (truck|airplane) (\S+) at (\S+)", action
    )
    verb, package, kind, name, place = match.groups()
    out, inside = {f"Package {package} is at {place}"}, {f"Package {package} is in {kind} {name}"}
    before, after = (out, inside) if verb == "load" else (inside, out)
    return before | {f"{kind.capitalize()} {name} is at {place}"}, before, after


def ferry_actions():
    yield from (f"sail from {a} to {b}" for a, b in itertools.permutations(LOCATIONS, 2))
    for verb, car, place in itertools.product(("board", "debark"), CARS, LOCATIONS):
        yield f"{verb} car {car} at {place}"


def logistics_actions():
    for start, end in itertools.permutations(PLACES, 2):
        yield from (f"drive truck {truck} from {start} to {end}" for truck in ("t0", "t1"))
        yield f"fly airplane a0 from {start} to {end}"
    vehicles = ("truck t0", "truck t1", "airplane a0")
    for package, vehicle, place in itertools.product(("p0", "p1"), vehicles, PLACES):
        yield f"load package {package} into {vehicle} at {place}"
        yield f"unload package {package} from {vehicle} at {place}"


class World:
    def __init__(self, example: Worked):
        self.effects, actions = (
            (ferry, ferry_actions) if example.domain == FERRY else (logistics, logistics_actions)
        )
        self.actions = list(actions())
        self.start, self.goal = facts(example.state), facts(example.goal)

    def after(self, state, action):
        """The state after an action, or None where it cannot be done."""
        effects = self.effects(action)
        if effects is None or not effects[0] <= state:
            return None
        return (state - effects[1]) | effects[2]

    def end(self, actions):
        state = self.start
        for action in actions:
            state = state and self.after(state, action)
        return state

    def reachable(self, without=frozenset()):
        """All states that can come, passing through none in which `without` holds."""
        holds = bool(without) and without <= self.start
        found, waiting = ({self.start}, [self.start]) if not holds else (set(), [])
        while waiting:
            state = waiting.pop()
            new = {self.after(state, action) for action in self.actions} - found - {None}
            new = {after for after in new if not without or not without <= after}
            found |= new
            waiting += new
        return found


def right(task, world, example, option):
    """Whether an option is a right answer."""
    quoted = re.search(r'"(.*)"', example.question)
    given = quoted[1].split(", ") if quoted else []
    if task == "app":
        return world.after(world.start, option) is not None
    if task == "prog":
        return facts(option) <= world.end(given)
    if task == "reach":
        return any(facts(option) <= state for state in world.reachable())
    if task == "act_reach":
        return any(world.after(state, option) for state in world.reachable())
    if task == "land":
        return not any(world.goal <= state for state in world.reachable(facts(option)))
    if task == "just":
        pair = re.split(r" and (?=\w+ (?:car|from|package|truck))", option)
        place = next(n for n in range(len(given)) if given[n : n + 2] == pair)
        end = world.end(given[:place] + given[place + 2 :])
        return end is not None and world.goal <= end
    end = world.end(given)
    reached = end is not None and world.goal <= end
    return {
        "The sequence is a plan": reached,
        "The sequence is not applicable": end is None,
        "The sequence is applicable, but does not achieve the goal": end and not reached,
    }.get(option, False)


@pytest.mark.parametrize("task", EXAMPLES)
@pytest.mark.parametrize("number", [0, 1])
def test_exactly_the_named_option_is_right(task, number):
    example = EXAMPLES[task][number]
    world = World(example)
    good = [
        letter
        for letter, option in zip("ABCD", example.options)
        if right(task, world, example, option)
    ]
    assert good == [example.answer]


@pytest.mark.parametrize("task", EXAMPLES)
def test_examples_have_the_shape_that_the_study_shows(task):
    first, second = EXAMPLES[task]
    assert first.domain == FERRY != second.domain
    for example in (first, second):
        assert re.fullmatch(
            r"\*\*Question\*\*: .*  .* A\. .* B\. .* C\. .* D\. .* \*\*Thoughts\*\*: .*"
            r" \*\*Final Answer\*\*: [ABCD]\.",
            example.text,
        )
        assert example.state and (not example.goal or example.goal in example.text)

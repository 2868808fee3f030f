"""Two worked examples for each of ACPBench's seven tasks: one with a ferry, one with trucks and airplanes.

The study shows two fixed examples before each question, in this format. The situations and words here are our own; a
test plays through every one of them.
"""

from dataclasses import dataclass

FERRY = (
    "A ferry takes cars from place to place. It sails between any two places and holds one car at "
    "most. A car boards at the place where it and the empty ferry are, and leaves the ferry at the "
    "place where the ferry is."
)
LOGISTICS = (
    "Packages are brought from place to place. A truck drives between the places of one city, an "
    "airplane flies between airports. A package is loaded into a vehicle that is at the same place, "
    "and unloaded at the place where its vehicle is. City one has the airport l0-0 and the place "
    "l0-1, city two has the airport l1-0 and the place l1-1."
)
_DEPOT = (
    "Truck t0 is at l0-1. Truck t1 is at l1-0. Airplane a0 is at l1-0. Package p0 is at l0-1. "
    "Package p1 is in truck t1."
)
_STEPS = "Let's think step by step."


@dataclass(frozen=True)
class Worked:
    """One example.

    Attributes:
      domain: what moves, and how.
      state: the facts that hold, each a sentence.
      question: as the benchmark asks it, without its options.
      options: the texts of A, B, C and D.
      thoughts: the reason, and the answer's letter.
      goal: the fact to be reached, if the question needs one.
    """

    domain: str
    state: str
    question: str
    options: tuple[str, str, str, str]
    thoughts: str
    answer: str
    goal: str = ""

    @property
    def text(self) -> str:
        """The example as it is shown before a question."""
        goal = f" The goal is: {self.goal}." if self.goal else ""
        options = " ".join(f"{letter}. {text}." for letter, text in zip("ABCD", self.options))
        return (
            f"**Question**: {self.domain} {self.state}{goal}  {self.question} {options} "
            f"**Thoughts**: {_STEPS} {self.thoughts} **Final Answer**: {self.answer}."
        )


_APPLICABLE = "Which of the following actions will be applicable in this state?"
_PROGRESSION = (
    'Which of the following facts hold after performing the action "{}" in the current state?'
)
_REACHABLE = "Which of the following options can hold in a state that can potentially be reached?"
_ACTION = "Which of the following actions can eventually be applied?"
_VALID = (
    'Which of the following claims is true with regard to the following sequence of actions "{}"?'
)
_CLAIMS = (
    "The sequence is not valid",
    "The sequence is applicable, but does not achieve the goal",
    "The sequence is a plan",
    "The sequence is not applicable",
)
_PAIR = (
    'Given the plan: "{}"; which of the following pairs of consecutive actions can be removed from '
    "this plan and still have a valid plan?"
)
_LANDMARK = (
    "Which of the following facts is a landmark (must hold at some point along any plan) for the "
    "current state?"
)

# Task, by the name of its local file -> its two examples.
EXAMPLES: dict[str, tuple[Worked, Worked]] = {
    "app": (
        Worked(
            FERRY,
            "The ferry is at l1. Car c1 is on the ferry. Car c0 is at l0.",
            _APPLICABLE,
            (
                "board car c0 at l0",
                "sail from l0 to l2",
                "debark car c1 at l2",
                "sail from l1 to l2",
            ),
            "Step 1: A car boards an empty ferry only, and c1 is on it, so A cannot be done. "
            "Step 2: Sailing from l0 and debarking at l2 need the ferry there, and it is at l1, so B "
            "and C cannot be done. Step 3: Sailing from l1 needs the ferry at l1, where it is.",
            "D",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _APPLICABLE,
            (
                "load package p0 into truck t0 at l0-1",
                "fly airplane a0 from l0-0 to l1-0",
                "load package p1 into airplane a0 at l1-0",
                "drive truck t0 from l0-1 to l1-1",
            ),
            "Step 1: Loading p0 into t0 at l0-1 needs both at l0-1, and both are. Step 2: The others "
            "fail: a0 is not at l0-0, p1 is in a truck and not at l1-0, and l1-1 is in another city.",
            "A",
        ),
    ),
    "prog": (
        Worked(
            FERRY,
            "The ferry is at l0. The ferry is empty. Car c0 is at l0. Car c1 is at l1.",
            _PROGRESSION.format("board car c0 at l0"),
            (
                "Car c0 is at l0",
                "The ferry is empty",
                "Car c0 is on the ferry and Car c1 is at l1",
                "The ferry is at l1",
            ),
            "Step 1: Boarding puts c0 on the ferry, so c0 is no longer at l0 and the ferry is no "
            "longer empty. Step 2: The ferry stays at l0, and c1 stays at l1.",
            "C",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _PROGRESSION.format("unload package p1 from truck t1 at l1-0"),
            (
                "Package p1 is in truck t1",
                "Package p1 is at l1-0 and Truck t1 is at l1-0",
                "Package p1 is at l1-1",
                "Truck t1 is at l1-1",
            ),
            "Step 1: Unloading takes p1 out of t1 and leaves it where t1 is, at l1-0. Step 2: The "
            "truck does not move, so it is still at l1-0.",
            "B",
        ),
    ),
    "reach": (
        Worked(
            FERRY,
            "The ferry is at l0. The ferry is empty. Car c0 is at l0. Car c1 is at l1.",
            _REACHABLE,
            (
                "Car c0 is on the ferry and Car c1 is on the ferry",
                "Car c0 is at l0 and Car c0 is at l1",
                "The ferry is at l0 and The ferry is at l1",
                "Car c1 is on the ferry and The ferry is at l1",
            ),
            "Step 1: The ferry holds one car, so A never holds. Step 2: Nothing is at two places at "
            "once, so B and C never hold. Step 3: The ferry can sail to l1 and take c1 on there.",
            "D",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _REACHABLE,
            (
                "Package p0 is at l0-1 and Package p0 is in truck t0",
                "Truck t0 is at l1-1",
                "Package p0 is in airplane a0",
                "Airplane a0 is at l0-1",
            ),
            "Step 1: A package is at a place or in a vehicle, not both, so A never holds. Step 2: A "
            "truck stays in its city and an airplane at airports, so B and D never hold. Step 3: t0 "
            "can bring p0 to l0-0, where a0 can land and take it.",
            "C",
        ),
    ),
    "act_reach": (
        Worked(
            FERRY,
            "The ferry is at l0. The ferry is empty. Car c0 is at l0. Car c1 is at l1.",
            _ACTION,
            (
                "board car c1 at c0",
                "sail from c0 to l1",
                "debark car c0 at l1",
                "debark car l0 at l1",
            ),
            "Step 1: c0 is a car and no place, so A and B can never be done; l0 is a place and no "
            "car, so D cannot. Step 2: The ferry can take c0 on at l0 and sail to l1, where c0 can "
            "leave it.",
            "C",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _ACTION,
            (
                "drive truck t0 from l0-0 to l1-0",
                "fly airplane a0 from l1-0 to l0-1",
                "load package p0 into truck t1 at l0-1",
                "unload package p0 from truck t1 at l1-1",
            ),
            "Step 1: No truck drives to another city, l0-1 is no airport, and t1 never comes to l0-1, "
            "so A, B and C can never be done. Step 2: t0 and a0 can bring p0 to l1-0, where t1 takes "
            "it and drives it to l1-1.",
            "D",
        ),
    ),
    "val": (
        Worked(
            FERRY,
            "The ferry is at l1. The ferry is empty. Car c0 is at l0.",
            _VALID.format(
                "sail from l1 to l0, board car c0 at l0, sail from l0 to l1, debark car c0 at l1"
            ),
            _CLAIMS,
            "Step 1: The ferry sails from l1, where it is, to l0, takes c0 on there, sails back and "
            "lets c0 off at l1: every action can be done in its turn. Step 2: At the end c0 is at l1, "
            "which is the goal.",
            "C",
            goal="Car c0 is at l1",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _VALID.format(
                "load package p0 into truck t0 at l0-1, drive truck t0 from l0-1 to l0-0"
            ),
            _CLAIMS,
            "Step 1: p0 and t0 are both at l0-1, so p0 can be loaded, and t0 can drive to l0-0 in its "
            "city: both actions can be done. Step 2: At the end p0 is in t0 and not at l0-0, so the "
            "goal is not reached.",
            "B",
            goal="Package p0 is at l0-0",
        ),
    ),
    "just": (
        Worked(
            FERRY,
            "The ferry is at l0. The ferry is empty. Car c0 is at l0.",
            _PAIR.format(
                "sail from l0 to l2, sail from l2 to l0, board car c0 at l0, sail from l0 to l1, "
                "debark car c0 at l1"
            ),
            (
                "board car c0 at l0 and sail from l0 to l1",
                "sail from l0 to l2 and sail from l2 to l0",
                "sail from l2 to l0 and board car c0 at l0",
                "sail from l0 to l1 and debark car c0 at l1",
            ),
            "Step 1: Sailing to l2 and back leaves everything as it was. Step 2: Without these two, "
            "the ferry is still at l0 when c0 boards there, and the rest is done as before.",
            "B",
            goal="Car c0 is at l1",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _PAIR.format(
                "load package p0 into truck t0 at l0-1, drive truck t0 from l0-1 to l0-0, unload "
                "package p0 from truck t0 at l0-0, drive truck t0 from l0-0 to l0-1, drive truck t0 "
                "from l0-1 to l0-0"
            ),
            (
                "load package p0 into truck t0 at l0-1 and drive truck t0 from l0-1 to l0-0",
                "drive truck t0 from l0-1 to l0-0 and unload package p0 from truck t0 at l0-0",
                "unload package p0 from truck t0 at l0-0 and drive truck t0 from l0-0 to l0-1",
                "drive truck t0 from l0-0 to l0-1 and drive truck t0 from l0-1 to l0-0",
            ),
            "Step 1: After the third action p0 is at l0-0, which is the goal. Step 2: The last two "
            "drive t0 away and back, and nothing needs them.",
            "D",
            goal="Package p0 is at l0-0",
        ),
    ),
    "land": (
        Worked(
            FERRY,
            "The ferry is at l0. The ferry is empty. Car c0 is at l1. Car c1 is at l2.",
            _LANDMARK,
            (
                "The ferry is at l1",
                "Car c1 is on the ferry",
                "Car c0 is at l0",
                "Car c1 is at l0",
            ),
            "Step 1: c0 is at l1 and can board there only, so the ferry must come to l1. Step 2: c1 "
            "need not move, and c0 need not go by l0.",
            "A",
            goal="Car c0 is at l2",
        ),
        Worked(
            LOGISTICS,
            _DEPOT,
            _LANDMARK,
            (
                "Package p1 is at l1-1",
                "Package p0 is in airplane a0",
                "Package p1 is in airplane a0",
                "Package p1 is at l0-0",
            ),
            "Step 1: p0 is in city one and has to go to city two; trucks stay in their city, so p0 "
            "must fly, and a0 is the only airplane. Step 2: p1 need not go anywhere.",
            "B",
            goal="Package p0 is at l1-1",
        ),
    ),
}


def worked_text(task: str) -> str:
    """Returns both examples of a task, each followed by a blank line."""
    return "".join(f"{example.text}\n\n" for example in EXAMPLES[task])

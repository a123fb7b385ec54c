"""Little stories with a question, made by rule: the answer follows from the story, and anybody can check it.

    Ada went to the mill. Ben went to the barn. Ada took the key. Ada sent Ben the key. Where is the key? barn

Three levels, by how many sentences the answer needs. One: where is Ada, who has the key. Two: where is the key (who has
it, and where is that one), who is with Ada, where was Ada before. Three: where was the key before (who carried it,
where to, and where from). A story that is in one part is in no other.
"""

import hashlib
import random
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise

from my_llm.errors import choose
from stage5_gpt.answering import Example, Exercise

PEOPLE = ("Ada", "Ben", "Cleo", "Dan", "Eve", "Finn")
PLACES = ("barn", "mill", "inn", "well", "shed", "farm")
THINGS = ("key", "lamp", "coin", "rope")
LEVELS = (1, 2, 3)
SIZES = {"train": 30_000, "validation": 500, "test": 500}
EVENTS = 3, 6  # fewest and most things that happen after everybody has come


class World:
    """Who was where, who has what, and where it has been; `sentences` tell it."""

    def __init__(self) -> None:
        self.been: dict[str, list[str]] = {}  # of a person or a thing, the newest place last
        self.holder: dict[str, str] = {}
        self.sentences: list[str] = []

    def go(self, who: str, place: str) -> None:
        """With everything that one carries."""
        for one in (who, *(thing for thing, holder in self.holder.items() if holder == who)):
            self.been.setdefault(one, []).append(place)
        self.sentences.append(f"{who} went to the {place}.")

    def take(self, who: str, thing: str) -> None:
        """It lay where one is."""
        self.holder[thing] = who
        self.been[thing] = [self.been[who][-1]]
        self.sentences.append(f"{who} took the {thing}.")

    def send(self, thing: str, to: str) -> None:
        """It is then where the other one is."""
        self.sentences.append(f"{self.holder[thing]} sent {to} the {thing}.")
        self.holder[thing] = to
        if self.been[thing][-1] != self.been[to][-1]:
            self.been[thing].append(self.been[to][-1])


def happened(rng: random.Random) -> World:
    """Two or three people come to some place; then something happens, several times."""
    world, people = World(), rng.sample(PEOPLE, rng.choice((2, 2, 3)))
    things = rng.sample(THINGS, 2)
    for who in people:
        world.go(who, rng.choice(PLACES))
    for _ in range(rng.randint(*EVENTS) - len(people) + 1):
        who, thing, act = rng.choice(people), rng.choice(things), rng.random()
        if thing not in world.holder and act < 0.6:
            world.take(who, thing)
        elif thing in world.holder and act < 0.4:
            world.send(thing, rng.choice([one for one in people if one != world.holder[thing]]))
        else:
            world.go(who, rng.choice([place for place in PLACES if place != world.been[who][-1]]))
    return world


def askable(world: World, level: int) -> Iterator[tuple[str, str]]:
    """The questions of this level that the story answers, and the answers."""
    for one, places in world.been.items():
        thing = one in THINGS
        name = f"the {one}" if thing else one
        if level == 1 and thing:
            yield f"Who has {name}?", world.holder[one]
        if level == 1 + thing:
            yield f"Where is {name}?", places[-1]
        if level == 2 + thing:
            for before, place in pairwise(places):
                if places.count(place) == 1:
                    yield f"Where was {name} before the {place}?", before
        if level == 2 and not thing:
            near = [
                other for other in world.been if other not in (one, *THINGS) and world.been[other][-1] == places[-1]
            ]
            if len(near) == 1:
                yield f"Who is with {name}?", near[0]


def examples(count: int, seed: int, seen: set[str], levels: tuple[int, ...] = LEVELS) -> Iterator[Example]:
    """So many examples, the levels in turn, no story of `seen`; it grows by theirs."""
    rng, made = random.Random(seed), 0
    while made < count:
        world, level = happened(rng), levels[made % len(levels)]
        story, possible = " ".join(world.sentences), [*askable(world, level)]
        if not possible or story in seen:
            continue
        seen.add(story)
        question, answer = rng.choice(possible)
        yield Example(f"{story} {question}", f" {answer}", level)
        made += 1


@lru_cache(maxsize=1)
def questions() -> Exercise:
    """30,000 stories to learn from, 500 to choose by, 500 to be judged by."""
    seen: set[str] = set()
    parts = {part: (*examples(size, seed, seen),) for seed, (part, size) in enumerate(SIZES.items())}
    told = "\n".join(example.prompt + example.answer for part in parts.values() for example in part)
    digest = hashlib.sha256(told.encode()).hexdigest()
    source = "stories made by rule, stage5_gpt/exercises/questions.py"
    return Exercise("questions", parts["train"], parts["validation"], parts["test"], source, digest)


def load(name: str) -> Exercise:
    """The exercise for finetune.py and evaluate.py; auto is the only one there is.

    Raises:
        ConfigError: another name.
    """
    return choose(name, {"auto": questions, "questions": questions}, "exercise")()

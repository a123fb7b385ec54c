"""Verse by rules of form: `python write_verse.py --prompt "Now is the time, and now the hour of night,"`.

    couplet   the prompt is a line of English verse (or several); the model answers with one that rhymes
    poem      Chinese regulated verse: lines of five or of seven characters; the prompt is how it begins, or nothing

The model draws many, the rules of verse.py choose. `--evaluate 40` says how often verse keeps its form, by the side of
the books' own. The verse goes to standard output, everything said about it to standard error.
"""

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from my_llm.cli import BaseConfig, main

if TYPE_CHECKING:
    from my_llm.language.writer import Writer


@dataclasses.dataclass(frozen=True)
class WriteVerseConfig(BaseConfig):
    """Let a GPT write verse, and keep what has the form."""

    checkpoint: Path = Path("checkpoints/best_gpt_char.pt")
    """language model: train.py --preset shakespeare; for poems, one that finetune.py tuned on three_kingdoms_verse"""
    form: Literal["couplet", "poem"] = "couplet"
    """a line that rhymes with yours, or a poem in Chinese"""
    prompt: str = ""
    """the line before, or the beginning of the poem; \\n is a line end"""
    characters: Literal[0, 5, 7] = 0
    """force a quatrain with clauses of so many characters, without a prompt; 0: as the model likes"""
    candidates: int = 32
    """how many to draw"""
    show: int = 1
    """how many to write, each from candidates of its own"""
    temperature: float = 0.8
    """below 1 bolder, above 1 more varied"""
    evaluate: int = 0
    """score so many instead"""
    report: Path | None = None
    """also write the scores to this JSON file"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "candidates": (1, 10_000), "show": (1, 1000),
        "temperature": (0, 100), "evaluate": (0, math.inf),
    }  # fmt: skip


def run(config: WriteVerseConfig) -> None:
    """Write, or score."""
    from my_llm.device import set_up
    from my_llm.errors import ConfigError
    from stage5_gpt.language import load_writer

    if config.evaluate and config.prompt:
        raise ConfigError("--evaluate has prompts of its own", got=config.prompt, next_step="leave one of them out")
    if config.report and not config.evaluate:
        raise ConfigError("--report needs scores", next_step="--evaluate 40")
    if config.form == "couplet" and not config.evaluate and not config.prompt.strip():
        raise ConfigError("a couplet needs its first line", next_step='--prompt "Now is the time, and now the hour,"')
    if config.characters and (config.form == "couplet" or config.prompt or config.evaluate):
        raise ConfigError("--characters forces a poem without a prompt", next_step="--form poem --characters 7")
    device = set_up(config.device, config.threads, config.seed)
    writer = load_writer(config.checkpoint, device, config.precision)
    (score if config.evaluate else write)(config, writer)


def write(config: WriteVerseConfig, writer: "Writer") -> None:
    """The best of several, so many times."""
    from my_llm.cli import printable
    from my_llm.data.catalog import load_text
    from my_llm.terminal import say
    from stage5_gpt.poet import best_line, best_poem, forced_poems, poems_of, second_lines
    from stage5_gpt.verse import Couplet, clauses, is_pentameter, regular, rhymed, rhymes, rhymes_of

    prompt, book = (
        config.prompt.replace("\\n", "\n"),
        load_text("three_kingdoms_verse") if config.form == "poem" else None,
    )
    rhyme = rhymes_of(filter(None, map(clauses, book.train.split("\n\n")))) if book else None
    for number in range(config.show):
        seed = config.seed + number
        if rhyme is None:
            before, _, first = prompt.rstrip("\n").rpartition("\n")
            lines = second_lines(
                writer, Couplet(before, first, ""), config.candidates, temperature=config.temperature, seed=seed
            )
            text = best_line(first, lines)
            facts = is_pentameter(text), rhymes(first, text)
        else:
            settings = {"temperature": config.temperature, "seed": seed}
            if config.characters:
                texts = forced_poems(writer, config.candidates, characters=config.characters, **settings)
            else:
                texts = poems_of(writer, config.candidates, beginning=prompt, **settings)
            text = best_poem(texts, rhyme)
            facts = regular(text), rhymed(text, rhyme)
        print(("\n" if number else "") + printable(f"{prompt}\n{text}" if rhyme is None else text))
        say(f"{'keeps' if facts[0] else 'breaks'} the form, {'rhymes' if facts[1] else 'does not rhyme'}, by the rules")


def score(config: WriteVerseConfig, writer: "Writer") -> None:
    """How often the form is kept."""
    from my_llm.data.catalog import load_text
    from my_llm.evaluation import write_report
    from stage5_gpt.poet import couplet_rows, poem_rows

    settings = {"temperature": config.temperature, "seed": config.seed}
    if config.form == "couplet":
        rows = couplet_rows(writer, load_text("shakespeare"), config.evaluate, (1, config.candidates), **settings)
    else:
        corpus = load_text("three_kingdoms_verse")
        rows = poem_rows(None, writer, corpus, config.evaluate, config.candidates, **settings)
    columns = [name for name in rows[0] if name not in ("case", "sample", "n")]
    print(f"{'% of':28}" + "".join(f"{name.replace('_', ' '):>15}" for name in columns))
    for row in rows:
        print(f"{row['case']:28}" + "".join(f"{row[name]:>15}" for name in columns))
    write_report(config.report, {"stage": "stage5_gpt", "rows": rows})


if __name__ == "__main__":
    main(WriteVerseConfig, run)

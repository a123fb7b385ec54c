"""Let people judge without knowing who wrote what. First the sheet, then their marks:

    python sheet.py --make sheet.csv --checkpoints a.pt b.pt --prompts "ROMEO:\\n" "JULIET:\\n"
    python sheet.py --score anna.csv ben.csv --key sheet_key.json

Each model goes on from each prompt, and sheet.csv holds the texts in random order; sheet_key.json, which is not for the
raters, says whose they are. Each rater fills a copy. How the marks are put together stands in my_llm/language/sheet.py.
"""

import dataclasses
from pathlib import Path
from typing import ClassVar

from my_llm.cli import BaseConfig, main


@dataclasses.dataclass(frozen=True)
class SheetConfig(BaseConfig):
    """Make a blind sheet, or say what the filled ones say."""

    make: Path | None = None
    """write a sheet to this file, .csv, and beside it <name>_key.json"""
    checkpoints: tuple[Path, ...] = ()
    """language models that go on from the prompts"""
    prompts: tuple[str, ...] = ()
    """how the texts begin, \\n is a line end; a name that ends in .txt is a file with one on every line"""
    length: int = 300
    """tokens of each text"""
    temperature: float = 0.8
    """below 1 bolder, above 1 more varied"""
    score: tuple[Path, ...] = ()
    """filled copies of a sheet, one of each rater"""
    key: Path | None = None
    """the key that was written with it"""

    ranges: ClassVar[dict[str, tuple[float, float]]] = {
        **BaseConfig.ranges, "length": (1, 1_000_000), "temperature": (0, 100),
    }  # fmt: skip


def run(config: SheetConfig) -> None:
    """Do the one or the other."""
    from my_llm.errors import ConfigError

    if (config.make is None) == (not config.score):
        raise ConfigError("either --make a sheet, or --score filled ones", next_step="see --help")
    if config.make is None:
        score(config)
    else:
        make(config, config.make)


def make(config: SheetConfig, path: Path) -> None:
    """Let every model write, and hide who it was.

    Raises:
        ConfigError: no model, no prompt, or a model twice.
        DataError: a file of prompts that cannot be read.
    """
    from my_llm.device import set_up
    from my_llm.errors import ConfigError
    from my_llm.language.sheet import make_sheet
    from stage5_gpt.language import load_writer

    if len(set(config.checkpoints)) < max(len(config.checkpoints), 1) or not config.prompts:
        raise ConfigError("a sheet needs prompts, and models that differ", next_step="--checkpoints a.pt --prompts …")
    prompts = [prompt.replace("\\n", "\n") for prompt in lines_of(config.prompts)]
    device = set_up(config.device, config.threads, config.seed)
    sources = {}
    for checkpoint in config.checkpoints:
        writer = load_writer(checkpoint, device, config.precision)
        settings = {"length": config.length, "temperature": config.temperature}
        sources[str(checkpoint)] = [
            "".join(writer.write(prompt, seed=config.seed + number, **settings))
            for number, prompt in enumerate(prompts)
        ]
    key = path.with_name(f"{path.stem}_key.json")
    make_sheet(path, key, prompts, sources, config.seed)
    print(f"sheet       {path}\nkey         {key}, not for the raters")


def lines_of(prompts: tuple[str, ...]) -> list[str]:
    """The prompts, those in files included."""
    from my_llm.errors import DataError

    found = []
    for prompt in prompts:
        if not prompt.endswith(".txt"):
            found.append(prompt)
            continue
        try:
            found += [line for line in Path(prompt).read_text("utf-8").splitlines() if line]
        except (OSError, UnicodeDecodeError) as error:
            raise DataError("cannot read the prompts", got=prompt, next_step=f"check the path: {error}") from None
    return found


def score(config: SheetConfig) -> None:
    """Means, intervals, and how far the raters agree.

    Raises:
        ConfigError: no key.
        DataError: a sheet or key that cannot be read, or a mark that is missing.
    """
    from my_llm.errors import ConfigError
    from my_llm.language.sheet import judge, read_sheets, table_of

    if config.key is None:
        raise ConfigError("the key says whose the texts are", next_step="--key sheet_key.json")
    verdict = judge(read_sheets(config.score, config.key))
    print("\n".join(table_of(verdict)))
    print(f"mean of 1 to 5 ± 95 % interval over texts; {verdict.raters} raters; α 1: all agree, 0: as by chance")


if __name__ == "__main__":
    main(SheetConfig, run)

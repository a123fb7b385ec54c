"""What contradicts is refused only where somebody typed it; what nobody typed has its usual value."""

from pathlib import Path

import pytest

from my_llm.cli import parse
from my_llm.errors import ConfigError
from my_llm.translation.flags import ScoringConfig, SpeakingConfig


@pytest.mark.parametrize(
    "flags",
    [
        ["--text", "a", "--beam_size", "1"], ["--text", "a", "--length_penalty", "0"],
        ["--text", "a", "--show_attention", "--png", "b.png"], ["--interactive", "--png", "b.png"],
    ],
)  # fmt: skip
def test_what_goes_together_passes(flags: list[str]):
    config = parse(SpeakingConfig, flags)
    config.check()
    assert config.penalty == (0 if "--length_penalty" in flags else 0.6)
    assert config.picture == Path("b.png" if "--png" in flags else "attention.png")


@pytest.mark.parametrize("config_class", [ScoringConfig, SpeakingConfig])
def test_a_penalty_without_a_beam_is_refused_also_from_a_file(
    config_class: type[ScoringConfig | SpeakingConfig], tmp_path: Path
):
    file = tmp_path / "flags.toml"
    file.write_text("beam_size = 1\nlength_penalty = 0.6\n")
    flags = ["--config", str(file), *(["--text", "a"] if config_class is SpeakingConfig else [])]
    with pytest.raises(ConfigError, match="belongs to beam search; got '--beam_size 1 --length_penalty 0.6'"):
        parse(config_class, flags).check()
    parse(config_class, [*flags, "--beam_size", "2"]).check()


def test_the_usual_penalty_is_that_of_the_search():
    from inspect import signature

    from my_llm.decoding import beam_search
    from my_llm.translation.translator import Translator

    usual = {signature(beam_search).parameters["alpha"].default, ScoringConfig().penalty}
    assert usual == {signature(Translator.translate).parameters["length_penalty"].default} == {0.6}

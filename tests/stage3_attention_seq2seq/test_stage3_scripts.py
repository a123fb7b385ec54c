"""train.py and evaluate.py do a whole job: from pairs of sentences to a checkpoint and the score of sacrebleu."""

import gzip
import math
import signal
from pathlib import Path

import pytest
import torch
from kill_driver import same_end
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from stage3_world import LEARN, PARTS, SMALL, Call, Trained, newest, scored, sentences

from my_llm import checkpoint, metrics
from my_llm.data.catalog import Pair, load_pairs
from my_llm.data.corpora import numbers_en_fr
from my_llm.journal import read_metrics
from my_llm.run import Run
from my_llm.training import Step
from stage3_attention_seq2seq import train, translate
from stage3_attention_seq2seq.data import encode_reversed
from stage3_attention_seq2seq.models import ATTENTIONS
from stage3_attention_seq2seq.translator import load_translator

CPU = torch.device("cpu")
TEST = sentences()["test"]

# --- training and scoring ---------------------------------------------------------------------------------------------


def test_the_switch_offers_every_attention_and_every_name_is_one():
    assert set(train.TrainConfig.__annotations__["attention_type"].__args__) == set(ATTENTIONS)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_every_attention_takes_two_steps_is_published_and_is_scored(attention: str, call: Call, home: Path):
    name = f"two_{attention}"
    flags = [*SMALL, "--attention_type", attention, "--max_steps", 2, "--run_name", name]
    assert call(train, *flags)[0] == 0
    path = home / "stage3_attention_seq2seq" / "checkpoints" / "best_attention_model.pt"
    assert path.read_bytes() == (newest(home, name) / "best.pt").read_bytes()
    one, two = (line["loss"] for line in read_metrics(newest(home, name)) if "loss" in line)
    assert abs(one - math.log(330)) < 1 and two != one  # the first guess is about even
    facts = scored(call, path, "--beam_size", 1)
    assert facts["model"] == attention and (facts["alignment"] is None) == (attention == "none")


def test_attention_learns_the_small_language(trained: Trained, call: Call, home: Path):
    facts = scored(call, trained())
    assert facts["exact"] > 0.9 and facts["split"] == "test" and facts["n"] == PARTS["test"]
    assert facts["same_text_as_trained"] and not facts["learnt_from"] and facts["model"] == "bahdanau"
    assert facts["parameters"] == sum(t.numel() for t in load_translator(trained(), CPU).model.parameters())
    lines = read_metrics(newest(home, "bahdanau"))
    samples = [line["sample"] for line in lines if "sample" in line]
    assert len(samples) == 2 and samples[-1].splitlines()[0] == sentences()["validation"][0].source
    best = checkpoint.load(trained())["progress"]["best"]["scores"]
    assert set(best) == {"bleu", "exact"} and best["bleu"] == max(line["bleu"] for line in lines if "bleu" in line)


def test_a_beam_finds_the_same_for_many_sentences_as_for_one(trained: Trained):
    ours = load_translator(trained(), CPU)
    texts = [pair.source for pair in TEST]
    together = ours.translate(texts, beam_size=4)
    alone = [ours.translate([text], beam_size=4)[0] for text in texts]
    assert [answer.tokens for answer in together] == [answer.tokens for answer in alone]


@pytest.mark.parametrize("attention", ["none", "bahdanau"])
def test_the_scores_are_those_of_sacrebleu(attention: str, call: Call, home: Path):
    """Of a model that is often wrong, so that the scores are neither 0 nor 100."""
    flags = [*LEARN, "--max_steps", 60, "--attention_type", attention, "--run_name", f"poor_{attention}"]
    assert call(train, *flags)[0] == 0
    path = newest(home, f"poor_{attention}") / "best.pt"
    facts, ours = scored(call, path, "--beam_size", 3, "--length_penalty", 0.5), load_translator(path, CPU)
    targets = [pair.target for pair in TEST]
    for width in ("1", "3"):
        row = facts["decoding"][width]
        answers = ours.translate([pair.source for pair in TEST], beam_size=int(width), length_penalty=0.5)
        said = [answer.text for answer in answers]
        assert row["bleu"] == pytest.approx(BLEU().corpus_score(said, [targets]).score, abs=1e-9)
        assert row["chrf"] == pytest.approx(CHRF().corpus_score(said, [targets]).score, abs=1e-9)
        assert row["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
        assert row["exact"] == pytest.approx(sum(map(str.__eq__, said, targets)) / len(TEST))
        words = [sum(len(text.split()) for text in texts) for texts in (said, targets)]
        assert row["length_ratio"] == pytest.approx(words[0] / words[1])
    assert 0 < facts["bleu"] < 100 and facts["bleu"] == facts["decoding"]["3"]["bleu"]
    assert sum(row["n"] for row in facts["by_length"]) == len(TEST)
    short = [place for place, pair in enumerate(TEST) if len(pair.source.split()) <= 5]
    expected = metrics.bleu([said[place] for place in short], [targets[place] for place in short])
    assert facts["by_length"][0] == {"words": "1 to 5", "n": len(short), "bleu": pytest.approx(expected)}
    chrf = [[row["chrf"] for row in facts["examples"][kind]] for kind in ("best", "worst")]
    assert chrf[0] == sorted(chrf[0], reverse=True) and chrf[1] == sorted(chrf[1]) and chrf[0][0] > chrf[1][0]


def test_more_references_are_all_used(trained: Trained, call: Call, monkeypatch: pytest.MonkeyPatch):
    from my_llm.translation import scoring

    usual = load_pairs("multi30k_en_fr")
    more = [Pair(pair.source, f"{pair.target} non", (pair.target,) if n % 2 else ()) for n, pair in enumerate(TEST)]
    object.__setattr__(usual, "test", more)
    monkeypatch.setattr(scoring, "load_pairs", lambda name: usual)
    facts = scored(call, trained(), "--beam_size", 1)
    row, said = facts["decoding"]["1"], [pair.target for pair in TEST]  # the model knows the language
    assert row["references"] == 2 and "nrefs:2|" in row["signature"]
    assert row["exact"] == pytest.approx((len(TEST) // 2) / len(TEST))
    columns = [[pair.target for pair in more], [(*pair.more, pair.target)[0] for pair in more]]
    assert row["bleu"] == pytest.approx(BLEU().corpus_score(said, columns).score, abs=1e-9)
    assert row["bleu_one_reference"] == pytest.approx(BLEU().corpus_score(said, columns[:1]).score, abs=1e-9)
    assert row["bleu_one_reference"] < row["bleu"] < 100


def test_a_bleu_that_is_not_sacrebleus_is_not_printed(trained: Trained, call: Call, monkeypatch: pytest.MonkeyPatch):
    path, right = trained(), metrics.bleu
    monkeypatch.setattr(metrics, "bleu", lambda *args: right(*args) + 1e-6)
    with pytest.raises(AssertionError, match="bleu: sacrebleu .*, ours"):
        scored(call, path)


def test_the_numbers_are_always_there_and_their_parts_share_nothing(
    call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(numbers_en_fr, "TRAIN", 500)  # instead of 20,000
    monkeypatch.setattr(numbers_en_fr, "HELD_OUT", 15)
    numbers_en_fr.phrases.cache_clear()
    try:
        flags = [*SMALL, "--dataset", "numbers_en_fr", "--run_name", "numbers", "--max_steps", 30, "--lr", 0.01]
        code, _, errors = call(train, *flags)
        assert code == 0 and "numbers, dates and times made by rule: 500 pairs to learn from" in " ".join(errors)
        path, corpus = newest(home, "numbers") / "best.pt", load_pairs("numbers_en_fr")
        parts = [{pair.source for pair in part} for part in (corpus.train, corpus.validation, corpus.test)]
        assert sum(map(len, parts)) == len(set.union(*parts)) == 530
        facts = scored(call, path, "--beam_size", 2)
        assert (facts["data"], facts["n"], facts["sha256"]) == ("numbers_en_fr", 15, corpus.sha256)
        code, out, _ = call(translate, "--checkpoint", path, "--text", corpus.test[0].source)
        assert code == 0 and out.strip()
    finally:
        numbers_en_fr.phrases.cache_clear()


def test_only_the_very_sentences_that_were_learnt_are_no_measure(trained: Trained, call: Call):
    own = scored(call, trained(), "--split", "train", "--beam_size", 1)
    assert own["learnt_from"] and own["n"] == PARTS["train"] and "no measure of anything" in own["shown"]
    other = scored(call, trained(), "--split", "validation", "--examples", 2)
    assert not other["learnt_from"] and "no measure" not in other["shown"]
    assert all(other["shown"].count(f"{kind}, chrF") == 2 for kind in ("best", "median", "worst"))


# --- variants ---------------------------------------------------------------------------------------------------------


def test_a_reversed_source_is_remembered_and_shown_in_reading_order(trained: Trained, call: Call):
    path = trained("bahdanau", "--reverse_source")
    assert load_translator(path, CPU).encode is encode_reversed
    facts = scored(call, path)
    assert facts["exact"] > 0.5 and facts["settings"]["reverse_source"]
    assert " ".join(facts["alignment"]["source"][:-1]) in {pair.source for pair in TEST}


def test_what_is_too_long_to_learn_from_is_said(call: Call, home: Path):
    code, _, errors = call(train, *SMALL, "--max_steps", 1, "--max_length", 8, "--run_name", "short")
    content = checkpoint.load(newest(home, "short") / "last.pt")
    assert code == 0 and content["settings"]["max_length"] == 8
    said = " ".join(errors)
    learnt, left = (int(said.split(words)[0].split()[-1]) for words in (" pairs to learn from", " are too long"))
    assert learnt + left == PARTS["train"] and learnt > 40 and left > 40


def test_scheduled_sampling_and_input_feeding_change_the_weights(call: Call, home: Path):
    ends = []
    for number, more in enumerate(([], ["--teacher_forcing", 0.5], ["--no_input_feeding"], ["--label_smoothing", 0])):
        flags = [*SMALL, "--attention_type", "luong", "--max_steps", 2, "--run_name", f"variant_{number}", *more]
        assert call(train, *flags)[0] == 0
        ends.append(checkpoint.load(newest(home, f"variant_{number}") / "last.pt")["model"]["encoder.embedding.weight"])
    assert not any(torch.equal(one, other) for place, one in enumerate(ends) for other in ends[:place])


def test_bf16_trains_and_scores(call: Call, home: Path, trained: Trained):
    assert call(train, *SMALL, "--precision", "bf16", "--max_steps", 3, "--run_name", "bf16")[0] == 0
    assert sum("loss" in line for line in read_metrics(newest(home, "bf16"))) == 3
    assert scored(call, trained(), "--precision", "bf16", "--beam_size", 1)["exact"] > 0.8


def test_a_leak_between_the_files_is_mended_before_training(call: Call, home: Path):
    """The test's first sentence, written differently, stands in train as well: it is not learnt from."""
    path = home / "multi30k" / "train.en.gz"
    whole = path.read_bytes()
    lines = gzip.decompress(whole).decode().splitlines()
    try:
        path.write_bytes(gzip.compress("\n".join([*lines[:-1], f"{TEST[0].source.capitalize()}!"]).encode()))
        code, _, errors = call(train, *SMALL, "--max_steps", 1, "--run_name", "leak")
    finally:
        path.write_bytes(whole)
    assert code == 0 and f"{PARTS['train'] - 1} pairs to learn from" in " ".join(errors)


# --- stopping and going on --------------------------------------------------------------------------------------------

RUNS = {
    "bahdanau": ["--dropout", "0.3"],
    "luong": ["--attention_type", "luong", "--teacher_forcing", "0.5", "--accumulate", "2", "--cell", "lstm"],
    "none": ["--attention_type", "none", "--precision", "bf16", "--layers", "2", "--dropout", "0.2"],
}


@pytest.mark.parametrize("kind", RUNS)
def test_ctrl_c_and_resume_end_as_an_undisturbed_run(
    kind: str, call: Call, home: Path, monkeypatch: pytest.MonkeyPatch
):
    flags = [*SMALL, *RUNS[kind], "--eval_every", 4, "--max_steps", 11]
    assert call(train, *flags, "--run_name", f"whole_{kind}")[0] == 0
    published, log = home / "stage3_attention_seq2seq" / "checkpoints" / "best_attention_model.pt", Run.log
    published.unlink()

    def press(run: Run, step: Step) -> None:
        log(run, step)
        if step.index == 5:  # two steps after a save
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", press)
        code, _, errors = call(train, *flags, "--run_name", f"stopped_{kind}")
    whole, folder = newest(home, f"whole_{kind}"), newest(home, f"stopped_{kind}")
    assert code == 130 and "stopped after step 6 of 11" in errors[-1] and f"--resume {folder}" in errors[-1]
    for resumes in range(3):  # stopped, then finished, then resumed with no step left to take: each publishes
        if resumes:
            published.unlink()
            assert call(train, "--resume", folder)[0] == 0
        assert published.read_bytes() == (folder / "best.pt").read_bytes()
    assert same_end(whole, folder)
    assert [line["step"] for line in read_metrics(folder) if "sample" in line] == [3, 7, 10]

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from my_llm import checkpoint
from my_llm.classification import first_and_last
from my_llm.data.batches import LengthBatches
from my_llm.data.corpora.classification import Example, TextClassification
from my_llm.data.corpora.tags import TaggedSentence, Tagging
from my_llm.errors import CheckpointError
from my_llm.tasks import Prepared
from my_llm.text import PAD, UNK
from my_llm.training import train_steps
from stage1_mlp.models import AdamW, cross_entropy
from stage2_rnn_lstm import classifying, tagging

ORDER = {"batch_size": 8, "seed": 0}
CPU = torch.device("cpu")


def texts() -> TextClassification:
    """Praise comes after "film", blame before it; the words are the same."""
    examples = [Example(f"{'the ' * k}film good bad {'end ' * j}", 1) for k in range(5) for j in range(8)]
    examples += [Example(f"{'the ' * k}bad good film {'end ' * j}", 0) for k in range(5) for j in range(8)]
    return TextClassification("toy", ("blame", "praise"), examples, examples[::3], examples[1::3], "here", "0" * 64)


def sentences() -> Tagging:
    """Capitals begin a name, another capital goes on with it; the words are new in every part."""
    random = np.random.default_rng(0)

    def sentence() -> TaggedSentence:
        tags = [int(t) for t in random.integers(0, 2, size=random.integers(1, 9))]  # 1: a name of one or two words
        pairs = [(("".join(random.choice(list("abcdefgh"), 3))), t) for t in tags]
        words = [w for word, t in pairs for w in ([word.title(), word.upper()] if t else [word])]
        return TaggedSentence(tuple(words), tuple(i for t in tags for i in ([1, 2] if t else [0])))

    part = [sentence() for _ in range(180)]
    return Tagging("toy", "en", ("O", "B-X", "I-X"), part[:120], part[120:150], part[150:], "here", "0" * 64)


def prepared(task: str, **shape: float) -> Prepared:
    torch.manual_seed(0)
    if task == "classify":
        return classifying.prepare(texts(), {"embedding": 8, "hidden": 8, "dropout": 0.0} | shape, ORDER)
    return tagging.prepare(sentences(), {"embedding": 8, "hidden": 8, "dropout": 0.0} | shape, ORDER)


def save(task: str, path: Path, **changes: object) -> Prepared:
    module, task_ready = MODULES[task], prepared(task)
    content = {"kind": module.KIND, "model": task_ready.model.state_dict(), "data": {}, "settings": {}, "progress": {}}
    checkpoint.save(path, {**content, **task_ready.parts, **changes})
    return task_ready


MODULES = {"classify": classifying, "tag": tagging}
SHAPE = {"embedding": 8, "hidden": 8, "dropout": 0.0, "word_dropout": 0.0}


def corpus(task: str):
    return texts() if task == "classify" else sentences()


def lengths_of(task: str) -> list[int]:
    if task == "tag":
        return [len(sentence.words) for sentence in sentences().train]
    return [len(example.text.split()) for example in texts().train]


# --- batches of similar length ---------------------------------------------------------------------------------------


def test_a_long_text_keeps_its_two_ends():
    assert first_and_last(list(range(9)), 5) == [0, 1, 2, 7, 8]
    assert first_and_last([1, 2, 3], 5) == [1, 2, 3]


def test_a_long_word_keeps_its_two_ends_and_a_number_loses_its_digits():
    assert tagging.letters("abcdefghi", 4) == "abhi"
    assert tagging.normal("Año-1998") == "año-0000"


def test_rare_words_are_unknown_and_letters_are_not():
    tagger = tagger_of(prepared("tag"))
    ((words, characters),) = tagger.encode([["xyz", "Abc"]])
    assert words.tolist()[0] == UNK
    assert (characters != PAD).sum(dim=1).tolist() == [3, 3]
    assert characters[1, :3].tolist() == tagger.characters.encode("Abc")
    inputs = tagging.gather([(words, characters)])
    assert inputs.characters.shape == (1, 2, 3)


def tagger_of(task: Prepared) -> tagging.EntityTagger:
    vocabularies = tagging.Vocabulary(task.parts["words"]), tagging.Vocabulary(task.parts["characters"])
    assert isinstance(task.model, tagging.Tagger)
    return tagging.EntityTagger(task.model, vocabularies, task.parts["labels"], {})


# --- learning and coming back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("task", "score"), [("classify", "accuracy"), ("tag", "f1")])
def test_it_learns_what_no_bag_of_words_and_no_word_list_can(task, score):
    ready = prepared(task, word_dropout=0.0)
    before = ready.validate()
    optimizer = AdamW(ready.model.parameters(), lr=0.02)
    steps = list(train_steps(ready.model, ready.batches, ready.loss_fn, optimizer, max_steps=40))
    after = ready.validate()
    assert ready.model.training  # validation puts the mode back
    assert after[score] > 0.95 > 0.7 > before[score]
    assert after["validation_loss"] < 0.3 * before["validation_loss"]
    assert steps[-1].loss < 0.5 * steps[0].loss  # smoothed labels leave 0.2 of 0.7


@pytest.mark.parametrize("task", MODULES)
def test_the_loss_of_a_batch_is_the_sum_of_the_losses_of_its_parts(task):
    ready = prepared(task, word_dropout=0.0)
    whole = ready.loss_fn(ready.model, ready.batches(3))
    parts = [
        ready.loss_fn(ready.model, MODULES[task].prepare(corpus(task), SHAPE, {**ORDER, **half}).batches(3))
        for half in ({"rank": 0, "world": 2}, {"rank": 1, "world": 2})
    ]
    rows = LengthBatches(lengths_of(task), **ORDER)(3)
    assert whole.count == (sum(lengths_of(task)[row] for row in rows) if task == "tag" else len(rows))  # words or texts
    assert sum(part.count for part in parts) == whole.count
    torch.testing.assert_close(sum(part.total for part in parts), whole.total)


def test_a_saved_classifier_answers_as_before(tmp_path):
    ready = save("classify", tmp_path / "best.pt")
    loaded = classifying.load_labeller(tmp_path / "best.pt", CPU)
    assert loaded.scores(texts().validation, cross_entropy) == ready.validate()
    together = loaded.probabilities(["film good", "", "bad GOOD film end end"])
    alone = loaded.probabilities(["bad good film end end"])
    torch.testing.assert_close(together[2:], alone)
    torch.testing.assert_close(together[:1], loaded.probabilities(["film good"]))  # read second: shorter ones go first
    assert loaded.predict(["film good"])[0] == ("blame", "praise")[int(together[0].argmax())]
    torch.testing.assert_close(together.sum(dim=1), torch.ones(3))


def test_a_saved_tagger_answers_as_before(tmp_path):
    ready = save("tag", tmp_path / "best.pt")
    loaded = tagging.load_labeller(tmp_path / "best.pt", CPU)
    assert loaded.scores(sentences().validation) == ready.validate()
    answers = loaded.predict([["Abc", "ABC", "def"], [], ["x" * 50]])
    assert [len(tags) for tags in answers] == [3, 0, 1]
    assert answers[:1] == loaded.predict([["Abc", "ABC", "def"]])
    assert loaded.predict([]) == []


@pytest.mark.parametrize(
    ("task", "change"),
    [
        ("classify", {"labels": ["only one"]}),
        ("classify", {"tokenizer": {"kind": "char", "symbols": ["<pad>", "<unk>", "<bos>", "<eos>"]}}),
        ("classify", {"model_config": {}}),
        ("tag", {"labels": ["O"]}),
        ("tag", {"words": ["<pad>", "<unk>", "<bos>", "<eos>"]}),
        ("tag", {"kind": classifying.KIND}),
    ],
)
def test_parts_that_do_not_fit_together_are_one_clear_line(task, change, tmp_path):
    save(task, tmp_path / "best.pt", **change)
    with pytest.raises(CheckpointError) as error:
        MODULES[task].load_labeller(tmp_path / "best.pt", CPU)
    assert "\n" not in str(error.value)


def test_the_model_config_is_whole_in_the_checkpoint():
    assert prepared("tag").parts["model_config"].keys() == {f.name for f in dataclasses.fields(tagging.TaggerConfig)}

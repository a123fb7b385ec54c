"""Networks that are asked together: the mean of their probabilities, each trained as if it were alone."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from my_llm.errors import ConfigError
from stage2_rnn_lstm.data import Window
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import Ensemble, LanguageModel, LanguageModelConfig
from stage2_rnn_lstm.writer import build, step_of

V, B, T, MEMBERS = 11, 3, 7, 3


def random_ensemble() -> Ensemble:
    torch.manual_seed(0)
    ensemble = Ensemble(LanguageModelConfig(V, embedding=4, hidden=6, members=MEMBERS)).double()
    for parameter in ensemble.parameters():
        nn.init.normal_(parameter, std=0.7)
    return ensemble


def some_tokens() -> Tensor:
    return torch.randint(0, V, (B, T), generator=torch.Generator().manual_seed(1))


def test_its_probabilities_are_the_mean_of_the_members():
    ensemble, tokens = random_ensemble().eval(), some_tokens()
    logits, state = ensemble(tokens)
    alone = [member(tokens) for member in ensemble.members]
    mean = torch.stack([answer.softmax(-1) for answer, _ in alone]).mean(dim=0)
    torch.testing.assert_close(logits.exp(), mean.float(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(state, tuple(own for _, own in alone))


def test_the_mean_is_no_worse_than_the_members_are_on_average():
    ensemble, tokens = random_ensemble().eval(), some_tokens()
    inputs, targets = tokens[:, :-1], tokens[:, 1:].flatten()
    alone = [cross_entropy(member(inputs)[0].flatten(0, 1), targets) for member in ensemble.members]
    assert cross_entropy(ensemble(inputs)[0].flatten(0, 1), targets) < torch.stack(alone).mean()


def test_each_member_learns_as_if_it_were_alone():
    ensemble, tokens = random_ensemble(), some_tokens()
    window = Window(tokens[:, :-1], tokens[:, 1:], fresh=True)
    together = CarriedLoss()(ensemble, window)
    (MEMBERS * together.total).backward()
    totals = []
    for member in ensemble.members:
        alone = LanguageModel(ensemble.config).double()
        alone.load_state_dict(member.state_dict())
        loss = CarriedLoss()(alone, window)
        loss.total.backward()
        totals.append(loss.total)
        for (name, parameter), same in zip(alone.named_parameters(), member.parameters(), strict=True):
            torch.testing.assert_close(same.grad, parameter.grad, rtol=1e-5, atol=1e-6, msg=name)
    assert together.count == B * (T - 1)
    torch.testing.assert_close(together.total, torch.stack(totals).mean())


def test_the_state_handed_over_makes_windows_equal_one_pass_and_steps_equal_windows():
    ensemble, tokens = random_ensemble().eval(), some_tokens()
    whole = ensemble(tokens)[0]
    step, state = step_of(ensemble), None
    first, state = step(tokens[:, :3], state)
    torch.testing.assert_close(first, whole[:, 2])
    for t in range(3, T):
        logits, state = step(tokens[:, t : t + 1], state)
        torch.testing.assert_close(logits, whole[:, t])


def test_members_start_differently_and_a_config_says_how_many():
    one, two = Ensemble(LanguageModelConfig(V, embedding=4, hidden=6, members=2)).members
    assert not torch.equal(one.embedding.weight, two.embedding.weight)
    assert isinstance(build("lstm", {"vocab_size": V, "members": 2}), Ensemble)
    assert isinstance(build("lstm", {"vocab_size": V}), LanguageModel)
    with pytest.raises(ConfigError, match="members"):
        Ensemble(LanguageModelConfig(V, members=0))

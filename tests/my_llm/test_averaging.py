"""The mean of the last weights is their mean, comes and goes without a trace, and survives being saved."""

import pytest
import torch
from torch import nn

from my_llm.averaging import MeanOfLast


def model(value: float) -> nn.Module:
    """One that has its matrix twice, as a model with shared embeddings has; all numbers equal to `value`."""
    embedding, head = nn.Embedding(3, 2), nn.Linear(2, 3)
    head.weight = embedding.weight
    made = nn.Sequential(embedding, head, nn.LayerNorm(3))
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.fill_(value)
    return made


def values(weights: dict[str, torch.Tensor]) -> set[float]:
    return {number for tensor in weights.values() for number in tensor.flatten().tolist()}


@pytest.mark.parametrize(("count", "expected"), [(1, 9), (2, 7), (3, 17 / 3), (4, 5), (10, 5)])
def test_the_mean_of_the_last_few(count: int, expected: float):
    """Of 3, 3, 5 and 9, oldest first."""
    mean = MeanOfLast(count)
    for value in (3, 3, 5, 9):
        mean.update(model(value))
    assert len(mean.last) == min(count, 4)
    (found,) = values(mean.weights())
    assert found == pytest.approx(expected)


def test_it_remembers_values_and_not_the_model():
    own, mean = model(1), MeanOfLast(2)
    mean.update(own)
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.fill_(7)
    assert values(mean.weights()) == {1}
    mean.update(own)
    assert values(mean.weights()) == {4}


def test_inside_the_model_is_the_mean_and_afterwards_itself_again():
    own, mean = model(0), MeanOfLast(2)
    with torch.no_grad():
        own[0].weight.copy_(torch.randn(3, 2))  # type: ignore[operator]
    before = {name: tensor.clone() for name, tensor in own.state_dict().items()}
    for value in (2, 4):
        mean.update(model(value))

    def use() -> None:
        with mean.in_place(own):
            assert values(own.state_dict()) == {3} and own[0].weight is own[1].weight  # type: ignore[index]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        use()
    assert all(torch.equal(tensor, before[name]) for name, tensor in own.state_dict().items())
    assert own[0].weight is own[1].weight  # type: ignore[index]
    assert values(mean.weights()) == {3}


def test_a_saved_one_goes_on_as_if_nothing_had_been():
    whole, half, resumed = MeanOfLast(3), MeanOfLast(3), MeanOfLast(3)
    for value in (1, 2, 4, 8, 16):
        whole.update(model(value))
    for value in (1, 2, 4):
        half.update(model(value))
    resumed.load_state_dict(half.state_dict())
    for value in (8, 16):
        resumed.update(model(value))
    (found,) = values(whole.weights())
    assert values(resumed.weights()) == {found} and found == pytest.approx(28 / 3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_it_lies_in_main_memory():
    own, mean = model(1).cuda(), MeanOfLast(2)
    mean.update(own)
    mean.update(model(3))
    with mean.in_place(own):
        assert values(own.state_dict()) == {2} and next(own.parameters()).is_cuda

"""What two ways cost is measured in turns, so that a busy machine slows both."""

from my_llm.costs import race


def test_each_telling_takes_turns_with_the_last():
    calls: list[str] = []
    found = race({name: lambda name=name: calls.append(name) for name in ("a", "b")}, repeats=2)
    assert calls == ["a", "a", "b", "a", "b", "b", "b", "b"]  # a warm-up, then turns; the last one alone
    assert list(found) == ["a", "b"] and found["b"].speed == 1
    assert all(cost.seconds > 0 and cost.speed > 0 for cost in found.values())

"""Is this run normal? The question that a learner asks after every training, answered from the results ledger."""

import math
from collections.abc import Mapping
from typing import Any

from lab.page import data, paragraph
from my_llm.ledger import read, results_folder


def verdict(stage: str, corpus: Mapping[str, str], accuracy: float, n: int, guess: float) -> str:
    """A paragraph that says whether an accuracy is what is to be expected.

    Args:
        stage: Whose recorded score to compare with.
        corpus: Its name in the catalog and the sha256 of its text.
        accuracy: The share of right answers, 0 … 1.
        n: How many answers were given.
        guess: The share that is right without any learning.
    """
    low, high, english, chinese = expected_band(recorded(stage, corpus), accuracy, n, guess)
    doctor = data("python3 start.py doctor")
    if 100 * accuracy < low:
        return paragraph(
            f"<b>This run looks lower than it should</b>: {english}. Run {doctor} and see whether the loss falls.",
            f"<b>这次运行低于应有水平</b>：{chinese}。请运行 {doctor}，并看看损失是否下降。",
            "verdict odd",
        )
    better = (" and even better than recorded", "，甚至好于记录值") if 100 * accuracy > high else ("", "")
    return paragraph(
        f"<b>This run looks normal{better[0]}</b>: {english}.",
        f"<b>这次运行正常{better[1]}</b>：{chinese}。",
        "verdict",
    )


def recorded(stage: str, corpus: Mapping[str, str]) -> dict[str, Any] | None:
    """The row of results/<stage>/milestones.json for the corpus, if it was made from the very same text and split."""
    path = results_folder() / stage / "milestones.json"
    content = read(path) if path.exists() else {"rows": [], "sha256": ""}
    same = corpus["sha256"] in content["sha256"].split()
    return next((row for row in content["rows"] if same and row["case"] == corpus["name"]), None)


def expected_band(known: dict[str, Any] | None, accuracy: float, n: int, guess: float) -> tuple[float, float, str, str]:
    """From and to, in per cent, and the reason in both languages.

    Around a recorded score lie two standard errors of a share of `n` answers, √(p (1 − p) / n), and two of its own
    spread over seeds.
    """
    if known is None:
        low = min(100 * guess + 10, 100)
        return (
            low,
            100.0,
            f"no score is recorded for this text yet, but clearly better than guessing means {low:.0f}&nbsp;% or more",
            f"这份文本还没有记录在案的得分，但明显好于猜测意味着至少 {low:.0f}&nbsp;%",
        )
    luck = 200 * math.sqrt(accuracy * (1 - accuracy) / max(n, 1)) + 2 * known.get("spread", 0.0)
    low, high = known["score"] - luck, min(known["score"] + luck, 100.0)
    band, mark = f"{low:.1f}–{high:.1f}&nbsp;%", f"{known['score']:.1f}&nbsp;%"
    return (
        low,
        high,
        f"expected is {band}, that is the recorded {mark} give or take the luck of {n:,} texts and of the seed",
        f"预期为 {band}，即记录值 {mark} 加减 {n:,} 条文本和随机种子的运气",
    )

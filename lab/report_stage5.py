"""The report's section on stage 5: what the GPT wrote, how varied it is, and the LSTM of stage 2 beside it."""

from collections.abc import Sequence
from typing import Any

from lab.charts import line_chart
from lab.page import both, closing, data, heading, paragraph
from lab.report_stage2 import Scores, cost, learning, summary, texts
from my_llm.plots import smooth

MEASURES = {  # of my_llm/language/diversity.py
    "distinct_2": ("pairs of neighbours that are different, share", "不同的相邻对所占的份额"),
    "repetition_4": ("four in a row that were said before, share", "重复说过的四连所占的份额"),
    "self_bleu": ("how like each other the texts are, 0 to 100", "各篇相似的程度，0 到 100"),
}


def section(scores: Scores, metrics: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The section.

    Args:
        scores: What evaluate.py wrote.
        metrics: The lines of the run's metrics.jsonl.
        facts: The run's environment.json.
    """
    curve = learning(metrics, ("step (a batch of windows each)", "步（每步读一批窗口）"))
    parts = [idea(), summary(scores), texts(metrics), variety(scores), curve, cost(scores, facts)]
    return "".join([*parts, limit_and_next()])


def idea() -> str:
    """Two sentences."""
    return paragraph(
        "Stage 2's question, which character comes next, asked of stage 4's parts: every character looks at all before "
        "it. No memory is handed on, so a window of text answers all its questions at once, and what was read can be "
        "looked at again. This is GPT; what is called a large language model is this, larger.",
        "第 2 阶段的问题“下一个字符是什么”，交给第 4 阶段的部件：每个字符去看它之前的所有字符。"
        "没有要传递的记忆，所以一个窗口的文字可以同时回答所有的问题，读过的随时可以再看。"
        "这就是 GPT；所谓大语言模型就是它，只是更大。",
        "lead",
    )


def variety(scores: Scores) -> str:
    """How varied what it writes is, beside the book."""
    written, book = scores.get("diversity"), scores.get("diversity_of_book")
    if not written or not book:
        return ""
    words = paragraph(
        f"A loss does not say what a text is like. Here are {scores['samples']} texts that it wrote, beside as many "
        "pieces of the book.",
        f"损失说明不了文字写得怎样。这里是它写的 {scores['samples']} 篇文字，与书中同样多的片段并列。",
    )
    head = "".join(f'<th scope="col">{name}</th>' for name in (both("it", "它"), both("the book", "书")))
    body = "".join(
        f'<tr><th scope="row">{both(*MEASURES[key])}</th><td>{written[key]:.3f}</td><td>{book[key]:.3f}</td></tr>'
        for key in MEASURES
        if key in written
    )
    table = f'<table class="classes"><tr><th></th>{head}</tr>{body}</table>'
    return heading("How varied it is", "有多丰富") + words + f'<div class="scroll">{table}</div>'


def limit_and_next() -> str:
    """What this model cannot do, and commands to try."""
    limit = paragraph(
        "It goes on with a text, and that is all: it does not answer, obey, or know whether something is true. It "
        "sees no further back than its window. And it is small: how loss, data, size and time belong together is what "
        "the next stage is about.",
        "它只会把文字接着写下去：不会回答，不会服从，也不知道什么是真的。它看不到窗口之外。而且它很小："
        "损失、数据、规模和时间之间的关系，是下一阶段的主题。",
    )
    tries = [
        ("cd stage5_gpt", both("where the stage lives", "本阶段所在的文件夹")),
        ("python generate.py --interactive", both("begin a text; it goes on", "你开个头，它接着写")),
        ("python generate.py --prompt 'My lord' --show_probabilities 5 --length 10",
         both("what it might have said instead", "它本来还可能说什么")),
        ("python train.py --preset nanogpt", both("the race: nanoGPT's recipe …", "比赛：nanoGPT 的配方……")),
        ("python train.py --preset speedrun", both("… and ours", "……和我们的")),
        ("python train.py --preset quality", both("a better one, in minutes", "更好的模型，几分钟")),
        ("python finetune.py --task classify", both("what it knows, put to work", "让它学到的东西派上用场")),
        ("python compare.py", both("by hand = from scratch = official", "手写 = 从零 = 官方")),
    ]  # fmt: skip
    return closing(limit, tries)


# --- beside stage 2 ---------------------------------------------------------------------------------------------------


def beside(writers: Sequence[tuple[Scores, list[dict[str, Any]]]]) -> str:
    """How language models of one text learnt, second by second, and what they cost.

    Args:
        writers: The report of evaluate.py and the lines of metrics.jsonl of each.
    """
    curves = [(data(name_of(scores)), smooth(by_seconds(scores, metrics))) for scores, metrics in writers]
    words = paragraph(
        "Both read the same text on this machine, a moment ago. Here is how unsure each of them was, by the seconds "
        "that it had trained.",
        "两个网络刚才在这台机器上读了同样的文字。这里是它们训练了若干秒之后，各自还有多犹豫。",
    )
    seconds = both("seconds of training", "训练秒数")
    chart = line_chart(both("loss (nats a character)", "损失（奈特/字符）"), curves, x_name=seconds)
    reports = [scores for scores, _ in writers]
    return words + (chart if all(curve for _, curve in curves) else "") + f'<div class="scroll">{table(reports)}</div>'


def by_seconds(scores: Scores, metrics: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The training's loss by the time that its steps took."""
    settings, spent, points = scores["settings"], 0.0, []
    length = settings.get("length") or scores.get("window") or 1
    for line in metrics:
        if "tokens_per_second" in line:
            spent += settings["batch_size"] * length / line["tokens_per_second"]
            points.append((spent, line["loss"]))
    return points


def name_of(scores: Scores) -> str:
    """A model as a curve and a column are called."""
    return f"{scores['stage'].split('_')[0]}, {scores['model']}"


def table(reports: Sequence[Scores]) -> str:
    """A column for each model."""
    lines = [
        (both("perplexity per character", "每字符困惑度"), lambda scores: f"{scores['perplexity']:.2f}"),
        (both("bits per byte", "比特/字节"), lambda scores: f"{scores['bits_per_byte']:.2f}"),
        (both("training", "训练用时"), lambda scores: f"{scores['train_seconds']:.0f}&nbsp;s"),
        (both("parameters", "参数量"), lambda scores: f"{scores['parameters']:,}"),
        (both("writes, characters a second", "写作，字符/秒"), lambda scores: f"{scores['written_per_second']:,.0f}"),
    ]
    head = "".join(f'<th scope="col">{data(name_of(scores))}</th>' for scores in reports)
    body = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{value(scores)}</td>" for scores in reports) + "</tr>"
        for name, value in lines
    )
    return f'<table class="classes"><tr><th></th>{head}</tr>{body}</table>'

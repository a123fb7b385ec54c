"""The report's section on stage 4: the same translations as stage 3's, every head, and the two stages side by side."""

from collections.abc import Sequence
from typing import Any

from lab.charts import line_chart, maps
from lab.page import both, closing, data, heading, paragraph
from lab.report_stage3 import Scores, alignment, cost, learning, mistakes, summary

LOOKS = (  # who looks at whom, in the order of the report of evaluate.py
    ("The encoder: a word of the source looks at the others", "编码器：原文的词互相看"),
    ("The decoder: the word that comes next looks at those before it", "解码器：将要写的词看它之前的词"),
    ("The decoder: the word that comes next looks at the source", "解码器：将要写的词看原文"),
)


def section(scores: Scores, metrics: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The section.

    Args:
        scores: What evaluate.py wrote.
        metrics: The lines of the run's metrics.jsonl.
        facts: The run's environment.json.
    """
    parts = [idea(), summary(scores), alignment(scores), heads(scores), learning(metrics), mistakes(scores)]
    return "".join([*parts, cost(scores, facts), limit_and_next()])


def idea() -> str:
    """Two sentences."""
    return paragraph(
        "The same task without a memory that is handed on from word to word: every word looks at all others, several "
        "times at once, and then thinks about what it found. Nothing waits for anything, so a whole sentence is learnt "
        "from in one go.",
        "同样的任务，但没有逐词传递的记忆：每个词同时用好几个“头”去看所有其他的词，再想一想看到了什么。谁也不用等谁，所以一整句可以一次学完。",
        "lead",
    )


def heads(scores: Scores) -> str:
    """The maps of all heads of all layers."""
    found = scores.get("heads")
    if not found:
        return ""
    words = paragraph(
        "The same sentence, each head by itself: from left to right the heads, from top to bottom the layers. A row is "
        "the word that looks, a column the word that is looked at; the darker, the more. Look for heads that look at "
        "the word before, at the word itself, at the end, or at the word that is being translated. Nobody told them.",
        "同一个句子，每个头单独画出：从左到右是各个头，从上到下是各层。行是在看的词，列是被看的词；颜色越深，看得越多。"
        "找一找：哪些头看前一个词，哪些看自己，哪些看句尾，哪些看正在翻译的词。没有人教过它们。",
    )
    drawn = "".join(
        f'<div class="card">{heading(*look, level=4)}{maps(part["weights"], part["rows"], part["columns"])}</div>'
        for look, part in zip(LOOKS, found.values(), strict=True)
    )
    return heading("Every head", "每一个头") + words + drawn


def limit_and_next() -> str:
    """What this model cannot do, and commands to try."""
    limit = paragraph(
        "It compares every word with every other one: twice the length, four times the work. And it knows this one "
        "task, from these pairs. A network that only asks what comes next needs no pairs and can read all the text "
        "there is: that is stage 5, GPT.",
        "它把每个词与每个词相比：长度加倍，工作量变成四倍。而且它只会这一个任务，只从这些句对里学。"
        "只问“下一个是什么”的网络不需要句对，所有的文字都可以读：那就是第 5 阶段的 GPT。",
    )
    tries = [
        ("cd stage4_transformer", both("where the stage lives", "本阶段所在的文件夹")),
        ("python translate.py --interactive --show_attention",
         both("translate, and see where every head looks", "翻译，并看每个头看哪里")),
        ("python train.py --task translate", both("the whole training, on sentences", "完整的训练，用句子")),
        ("python train.py --config presets/numbers.toml --positions none",
         both("the same without knowing where a word stands", "同样的训练，但不知道词的位置")),
        ("python train.py --task language_model", both("the same parts, to write", "用同样的部件来写作")),
        ("python compare.py", both("by hand = from scratch = official", "手写 = 从零 = 官方")),
    ]  # fmt: skip
    return closing(limit, tries)


# --- beside the stage before ------------------------------------------------------------------------------------------


def beside(translators: Sequence[tuple[Scores, list[dict[str, Any]]]]) -> str:
    """What translators scored on their way, and what they cost.

    Args:
        translators: The report of evaluate.py and the lines of metrics.jsonl of each.
    """
    curves = []
    for scores, metrics in translators:
        read = scores["settings"]["batch_size"]  # pairs a step
        exact = [(read * (line["step"] + 1), line["exact"]) for line in metrics if "exact" in line]
        curves += [(data(name_of(scores)), exact)] if exact else []
    words = paragraph(
        "Both learnt to translate the same expressions on this machine, a moment ago. How soon a share is right says "
        "how much a network gets out of a pair; the seconds say what a pair costs.",
        "两个网络刚才在这台机器上学会了翻译同样的表达。多快达到某个正确率，说明网络能从一对句子里学到多少；秒数说明一对句子的代价。",
    )
    step = both("pairs read", "读过的句对数")
    chart = line_chart(both("exactly right, validation", "完全译对（验证）"), curves, x_name=step, percent=True)
    return (
        words + (chart if curves else "") + f'<div class="scroll">{table([scores for scores, _ in translators])}</div>'
    )


def name_of(scores: Scores) -> str:
    """A translator as a curve and a column are called."""
    return f"{scores['stage'].split('_')[0]}, {scores['model']}"


def table(reports: Sequence[Scores]) -> str:
    """A column for each translator."""
    lines = [
        (both("exactly right", "完全译对"), lambda scores: f"{100 * scores['exact']:.1f}&nbsp;%"),
        ("BLEU", lambda scores: f"{scores['bleu']:.1f}"),
        (both("training", "训练用时"), lambda scores: f"{scores['train_seconds']:.0f}&nbsp;s"),
        (both("parameters", "参数量"), lambda scores: f"{scores['parameters']:,}"),
        (both("sentences a second, greedy", "每秒句数，贪心"), lambda scores: f"{scores['greedy_per_second']:,.0f}"),
        (
            both("sentences a second, beam search", "每秒句数，束搜索"),
            lambda scores: f"{scores['beam_per_second']:,.0f}",
        ),
    ]
    head = "".join(f'<th scope="col">{data(name_of(scores))}</th>' for scores in reports)
    body = "".join(
        f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{value(scores)}</td>" for scores in reports) + "</tr>"
        for name, value in lines
    )
    return f'<table class="classes"><tr><th></th>{head}</tr>{body}</table>'

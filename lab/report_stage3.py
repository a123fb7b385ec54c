"""The report's section on stage 3: what was translated, where the network looked, what it cost, what comes next."""

from typing import Any

from lab.charts import line_chart
from lab.page import both, closing, data, heading, paragraph, rows, tiles
from my_llm.plots import smooth

Scores = dict[str, Any]  # what evaluate.py --report wrote
NORMAL = 0.5  # share of right translations that a minute should reach


def section(scores: Scores, metrics: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The section.

    Args:
        scores: What evaluate.py wrote.
        metrics: The lines of the run's metrics.jsonl.
        facts: The run's environment.json.
    """
    return (
        "".join([idea(), summary(scores), alignment(scores), learning(metrics), mistakes(scores), cost(scores, facts)])
        + limit_and_next()
    )


def idea() -> str:
    """Two sentences."""
    return paragraph(
        "One network reads an English expression, a second one writes it in French. While it writes, it looks back at "
        "the source: for every word it chooses which of the source's words to look at. Nobody told it which word "
        "belongs to which.",
        "一个网络读英文表达，另一个用法文写出来。它一边写，一边回头看原文：每写一个词，就选择去看原文的哪些词。没有人告诉过它哪个词对应哪个词。",
        "lead",
    )


def summary(scores: Scores) -> str:
    """The large numbers, the corpus, and whether the run looks normal."""
    greedy = scores["decoding"]["1"]
    top = tiles(
        [
            (f"{100 * scores['exact']:.1f}&nbsp;%", both("translated exactly right", "完全译对")),
            (f"{scores['bleu']:.1f}", "BLEU"),
            (f"{scores['train_seconds']:.0f}&nbsp;s", both("of training", "训练用时")),
            (f"{greedy['per_second']:,.0f}", both("sentences a second, greedy", "每秒翻译的句数，贪心")),
        ]
    )
    source = paragraph(
        f"The corpus: {data(scores['data'])} ({data(scores['source'])}), scored on {scores['n']:,} expressions that "
        "the network had never seen.",
        f"语料：{data(scores['data'])}（{data(scores['source'])}），得分来自它从未见过的 {scores['n']:,} 个表达。",
    )
    share = f"{100 * scores['exact']:.1f}"
    if scores["exact"] >= NORMAL:
        line = (
            f"<b>This run looks normal</b>: {share} % are right.",
            f"<b>这次运行正常</b>：{share}% 译对了。",
            "verdict",
        )
    else:
        doctor = data("python3 start.py doctor")
        line = (
            f"<b>This run has learnt less than it should</b>: {share} % are right. Run {doctor} and see whether the "
            "loss falls.",
            f"<b>这次运行学到的比应有的少</b>：只有 {share}% 译对。请运行 {doctor}，并看看损失是否下降。",
            "verdict odd",
        )
    return top + source + paragraph(*line)


def alignment(scores: Scores) -> str:
    """The map: a row for each French word, a column for each English one."""
    title = heading("Where it looked", "它看了哪里")
    found = scores.get("alignment")
    if not found:
        return title + paragraph("A model without attention looks nowhere.", "没有注意力的模型哪里也不看。")
    words = paragraph(
        "Each row is a word that the network wrote, each column a word that it had read; the darker, the more of its "
        "look went there. Follow the dark cells: the languages do not always agree on the order.",
        "每一行是网络写出的一个词，每一列是它读过的一个词；颜色越深，看得越多。顺着深色的格子看：两种语言的语序并不总是一致。",
    )
    head = "".join(f"<th>{data(word)}</th>" for word in ["", *found["source"]])
    body = "".join(
        f"<tr><th>{data(word)}</th>" + "".join(cell(weight) for weight in row) + "</tr>"
        for word, row in zip(found["target"], found["weights"], strict=True)
    )
    return f'{title}{words}<div class="scroll"><table class="map"><tr>{head}</tr>{body}</table></div>'


def cell(weight: float) -> str:
    """A cell as dark as its weight; the number is there for those who cannot see the shade."""
    shown = f"{weight:.2f}".removeprefix("0") if weight >= 0.05 else ""
    color = "#fff" if weight > 0.6 else "inherit"
    return f'<td style="background:rgba(0,90,160,{weight:.2f});color:{color}" title="{weight:.3f}">{shown}</td>'


def learning(metrics: list[dict[str, Any]]) -> str:
    """Loss, share of right translations and BLEU, step by step."""
    train = smooth([(line["step"] + 1, line["loss"]) for line in metrics if "loss" in line])
    checks = [line for line in metrics if "exact" in line]
    title = heading("How it learnt", "它是怎样学会的")
    if not train:
        return title + paragraph("This run left no curve.", "这次运行没有留下曲线。")
    step = both("step", "步")
    charts = line_chart(
        both("loss (nats a token)", "损失（奈特/词元）"), [(both("training", "训练"), train)], x_name=step
    )
    if checks:
        exact = [(line["step"] + 1, 100 * line["exact"]) for line in checks]
        bleu = [(line["step"] + 1, line["bleu"]) for line in checks]
        curves = [(both("exactly right, %", "完全译对，%"), exact), ("BLEU", bleu)]
        charts += line_chart(both("translations, validation", "译文（验证）"), curves, x_name=step)
    words = paragraph(
        "The loss does not end at zero: a little of the probability was always spread over all tokens (label "
        "smoothing), so that the network is not surer than it may be.",
        "损失不会降到零：总有一点概率分给所有词元（标签平滑），好让网络不至于过分自信。",
    )
    return f'{title}{words}<div class="pair">{charts}</div>'


def mistakes(scores: Scores) -> str:
    """The worst translations."""
    title = heading("Its worst translations", "最差的译文")
    lines = [
        (data(row["source"]), f"{data(row['said'])}<br><small>{both('right', '正确')}: {data(row['right'])}</small>")
        for row in scores["examples"]["worst"][:4]
        if row["said"] != row["right"]
    ]
    if not lines:
        return title + paragraph("All were right.", "全部译对了。")
    return title + rows(lines)


def cost(scores: Scores, facts: dict[str, Any]) -> str:
    """Seconds, parameters, hardware, and what identifies the data."""
    hardware, versions = facts["hardware"], facts["versions"]
    machine = f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores, threads used: {hardware['threads']}"
    speeds = ", ".join(
        f"{'greedy' if width == '1' else f'beam {width}'} {row['per_second']:,.0f}"
        for width, row in scores["decoding"].items()
    )
    return heading("What it cost", "代价") + rows(
        [
            (both("training", "训练用时"), f"{scores['train_seconds']:.1f}&nbsp;s"),
            (both("parameters", "参数量"), f"{scores['parameters']:,}"),
            (both("sentences a second", "每秒句数"), data(speeds)),
            (both("machine", "机器"), data(machine)),
            (both("versions", "版本"), data(", ".join(f"{name} {value}" for name, value in versions.items()))),
            (both("data", "数据"), data(f"{facts['data']['name']}, sha256 {facts['data']['sha256'][:16]}")),
            (both("command", "命令"), f"<code>{data(facts['command'])}</code>"),
        ]
    )


def limit_and_next() -> str:
    """What this model cannot do, and commands to try."""
    limit = paragraph(
        "The network may look anywhere at once, but it still reads and writes step by step: no step can begin before "
        "the one before is done. If looking is so good, why not do nothing else? That is stage 4, the Transformer.",
        "网络一眼可以看到任何地方，但读和写仍然是一步一步的：前一步没做完，后一步就不能开始。既然回头看这么好，为什么不只做这一件事？"
        "那就是第 4 阶段的 Transformer。",
    )
    tries = [
        ("cd stage3_attention_seq2seq", both("where the stage lives", "本阶段所在的文件夹")),
        ("python translate.py --interactive --show_attention",
         both("translate, and see where it looks", "翻译，并看它看哪里")),
        ("python train.py --attention_type bahdanau --epochs 30",
         both("the whole training, on sentences", "完整的训练，用句子")),
        ("python train.py --attention_type none", both("the same without looking back", "同样的训练，但不回头看")),
        ("python compare.py", both("by hand = from scratch = official", "手写 = 从零 = 官方")),
    ]  # fmt: skip
    return closing(limit, tries)

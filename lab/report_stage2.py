"""The report's section on stage 2: what the LSTM wrote before, during and after, what it cost, what comes next."""

import math
from typing import Any

from lab.charts import line_chart
from lab.page import both, closing, data, heading, paragraph, rows, tiles
from my_llm.plots import smooth

Scores = dict[str, Any]  # what evaluate.py --report wrote
SHOWN = 3  # texts: before, during, after
STEP = "step (a window of every stream each)", "步（每步读每条流的一个窗口）"
CLEARLY_BETTER = 0.8  # of the loss that the frequencies of the characters alone would have


def section(scores: Scores, metrics: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The section.

    Args:
        scores: What evaluate.py wrote.
        metrics: The lines of the run's metrics.jsonl.
        facts: The run's environment.json.
    """
    return "".join([idea(), summary(scores), texts(metrics), learning(metrics), cost(scores, facts), limit_and_next()])


def idea() -> str:
    """Two sentences."""
    return paragraph(
        "An LSTM reads one character at a time and keeps what it has understood in a state of a few hundred numbers. "
        "It was only ever asked one question: which character comes next? To answer it well, it had to learn spelling, "
        "words, who speaks, and where a line ends.",
        "LSTM 一次读一个字符，把理解到的东西存放在几百个数字组成的状态里。它只被问过一个问题：下一个字符是什么？"
        "要答好这个问题，它必须学会拼写、单词、谁在说话，以及一行在哪里结束。",
        "lead",
    )


def summary(scores: Scores) -> str:
    """The large numbers, the text that was used, and whether the run looks normal."""
    top = tiles(
        [
            (f"{scores['perplexity']:.2f}", both("perplexity per character", "每字符困惑度")),
            (f"{scores['bits_per_byte']:.2f}", both("bits per byte", "比特/字节")),
            (f"{scores['train_seconds']:.0f}&nbsp;s", both("of training", "训练用时")),
            (f"{scores['written_per_second']:,.0f}", both("characters written a second", "每秒写出的字符数")),
        ]
    )
    source = paragraph(
        f"The text: {data(scores['data'])} ({data(scores['source'])}). The perplexity counts {scores['n']:,} "
        "characters that the network had never seen: it is as unsure as if it had to choose among so many equally "
        "likely ones.",
        f"文本：{data(scores['data'])}（{data(scores['source'])}）。困惑度来自它从未见过的 {scores['n']:,} 个字符："
        "它的犹豫程度，相当于在这么多个同样可能的字符中选择。",
    )
    return top + source + verdict(scores["mean_loss"], scores["frequencies_alone"])


def verdict(loss: float, frequencies: float) -> str:
    """Is this run normal?"""
    numbers = f"{loss:.2f}", f"{frequencies:.2f}"
    english = "{} nats per character, where knowing only how frequent each character is would cost {}".format(*numbers)
    chinese = "每字符 {} 奈特；如果只知道每个字符有多常见，则是 {} 奈特".format(*numbers)
    if loss < CLEARLY_BETTER * frequencies:
        return paragraph(f"<b>This run looks normal</b>: {english}.", f"<b>这次运行正常</b>：{chinese}。", "verdict")
    doctor = data("python3 start.py doctor")
    return paragraph(
        f"<b>This run has learnt less than it should</b>: {english}. Run {doctor} and see whether the loss falls.",
        f"<b>这次运行学到的比应有的少</b>：{chinese}。请运行 {doctor}，并看看损失是否下降。",
        "verdict odd",
    )


def texts(metrics: list[dict[str, Any]]) -> str:
    """What it wrote before the first step, on the way, and at the end."""
    samples = [line for line in metrics if "sample" in line]
    title = heading("What it wrote", "它写了什么")
    if not samples:
        return title + paragraph("It wrote nothing on the way.", "它在途中什么也没写。")
    chosen = sorted({round(i * (len(samples) - 1) / (SHOWN - 1)) for i in range(SHOWN)})
    cards = "".join(
        f'<div class="card"><h4>{both(f"after {n:,} steps", f"{n:,} 步之后")}</h4><p>{lines(text)}</p></div>'
        for n, text in ((samples[i]["step"] + 1, samples[i]["sample"]) for i in chosen)
    )
    words = paragraph(
        "The same network, the same random numbers, before, during and after the training. Nobody told it what a word "
        "is.",
        "同一个网络、同样的随机数，训练之前、之中和之后。没有人告诉过它什么是单词。",
    )
    return f'{title}{words}<div class="cards">{cards}</div>'


def lines(text: str) -> str:
    """A text with its line ends and indentation."""
    indents = ((line, (len(line) - len(line.lstrip(" "))) * "&nbsp;") for line in text.strip("\n").split("\n"))
    return "<br>".join(indent + data(line) if line.strip() else "" for line, indent in indents)


def learning(metrics: list[dict[str, Any]], step: tuple[str, str] = STEP) -> str:
    """Loss and validation, step by step."""
    train = smooth([(line["step"] + 1, line["loss"]) for line in metrics if "loss" in line])
    checks = [(line["step"] + 1, line["validation_loss"]) for line in metrics if "validation_loss" in line]
    title = heading("How it learnt", "它是怎样学会的")
    if not train:
        return title + paragraph("This run left no curve.", "这次运行没有留下曲线。")
    curves = [(both("training", "训练"), train)] + ([(both("validation", "验证"), checks)] if checks else [])
    chart = line_chart(both("loss (nats a character)", "损失（奈特/字符）"), curves, x_name=both(*step))
    start, end = math.exp(train[0][1]), math.exp(train[-1][1])
    words = paragraph(
        f"At the start it was as unsure as among {start:.0f} equally likely characters, at the end as among {end:.1f}. "
        "Frequencies are learnt in seconds, spelling in a minute; sense would take far longer.",
        f"开始时它的犹豫相当于在 {start:.0f} 个同样可能的字符中选择，结束时相当于 {end:.1f} 个。"
        "字符的频率几秒就能学会，拼写要一分钟；而意义需要长得多的时间。",
    )
    return title + words + chart


def cost(scores: Scores, facts: dict[str, Any]) -> str:
    """Seconds, parameters, hardware, and what identifies the data."""
    hardware, versions = facts["hardware"], facts["versions"]
    machine = f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores, threads used: {hardware['threads']}"
    return heading("What it cost", "代价") + rows(
        [
            (both("training", "训练用时"), f"{scores['train_seconds']:.1f}&nbsp;s"),
            (both("parameters", "参数量"), f"{scores['parameters']:,}"),
            (both("reads, characters a second", "阅读，字符/秒"), f"{scores['scored_per_second']:,.0f}"),
            (both("writes, characters a second", "写作，字符/秒"), f"{scores['written_per_second']:,.0f}"),
            (both("machine", "机器"), data(machine)),
            (both("versions", "版本"), data(", ".join(f"{name} {value}" for name, value in versions.items()))),
            (both("data", "数据"), data(f"{facts['data']['name']}, sha256 {facts['data']['sha256'][:16]}")),
            (both("command", "命令"), f"<code>{data(facts['command'])}</code>"),
        ]
    )


def limit_and_next() -> str:
    """What this model cannot do, and commands to try."""
    limit = paragraph(
        "Everything that it has read must fit into one state of fixed size, and each step must wait for the one "
        "before. So it forgets the beginning of a long sentence, and it cannot use a machine that computes many things "
        "at once. Looking back at what was read is what stage 3 is about.",
        "读过的一切都必须装进一个固定大小的状态，而且每一步都要等待前一步。所以长句的开头会被忘记，能同时做许多计算的机器也帮不上忙。"
        "回头去看读过的内容，正是第 3 阶段的主题。",
    )
    tries = [
        ("cd stage2_rnn_lstm", both("where the stage lives", "本阶段所在的文件夹")),
        ("python generate.py --checkpoint checkpoints/best_lstm_char.pt --interactive",
         both("begin a sentence; it goes on", "你开个头，它接着写")),
        ("python train.py --model_type lstm --vocab_type char --epochs 15",
         both("the whole training, in minutes", "完整的训练，几分钟")),
        ("python train.py --model_type ngram",
         both("counting instead of learning: how close?", "只计数不学习：差多少？")),
        ("python train.py --task tag", both("names in sentences", "句子里的名字")),
        ("python compare.py", both("by hand = from scratch = official", "手写 = 从零 = 官方")),
        ("python experiments.py --studies gradients",
         both("measure how far back a gradient reaches", "测量梯度能传回多远")),
    ]  # fmt: skip
    return closing(limit, tries)

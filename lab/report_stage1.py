"""The report's section on stage 1: what the classifier has learnt, where it errs, what it cost, what comes next."""

import sys
from typing import Any

from lab.charts import bars, confusion, line_chart
from lab.page import both, closing, data, heading, paragraph, rows, tiles
from lab.verdict import verdict
from my_llm.plots import smooth

Scores = dict[str, Any]  # what evaluate.py --report wrote
LONGEST_TEXT = 320
EXAMPLES = 4


def section(scores: Scores, metrics: list[dict[str, Any]], facts: dict[str, Any]) -> str:
    """The section.

    Args:
        scores: What evaluate.py wrote.
        metrics: The lines of the run's metrics.jsonl.
        facts: The run's environment.json.
    """
    return "".join(
        [
            idea(),
            summary(scores, facts),
            learning(metrics),
            errors(scores),
            words(scores),
            right_and_wrong(scores),
            cost(scores, facts),
            limit_and_next(),
        ]
    )


def idea() -> str:
    """Two sentences."""
    return paragraph(
        "A text becomes a long list of numbers, one for every known word and pair of neighbouring words, almost all of "
        "them zero. A multi-layer perceptron turns that list into one score for each class: it weighs, adds, bends and "
        "adds again, and it found all its weights by itself, by walking downhill on its errors.",
        "一段文本变成一长串数字：每个已知的词和相邻词对各占一个，绝大多数是零。多层感知机（MLP）把这串数字变成每个类别的得分："
        "加权、求和、弯折、再求和；所有权重都是它沿着误差下坡自己找到的。",
        "lead",
    )


def summary(scores: Scores, facts: dict[str, Any]) -> str:
    """The large numbers, the text that was used, and whether the run looks normal."""
    support = [row["support"] for row in scores["per_class"]]
    guess = max(support) / max(sum(support), 1)
    top = tiles(
        [
            (percent(scores["accuracy"]), both("of the test texts in the right class", "的测试文本分对了类")),
            (percent(guess), both("would be right by always naming the largest class", "总猜最大的类别能得到的准确率")),
            (f"{scores['macro_f1']:.3f}", both("macro F1, every class counts alike", "宏平均 F1，各类同等重要")),
            (f"{scores['train_seconds']:.1f}&nbsp;s", both("of training", "训练用时")),
            (f"{scores['latency_batch_us']:.0f}&nbsp;µs", both("a text, in batches", "每条文本（批量）")),
        ]
    )
    source = paragraph(
        f"The text: {data(scores['data'])} ({data(scores['source'])}). The score counts {scores['n']:,} test texts "
        "that the network had never seen.",
        f"文本：{data(scores['data'])}（{data(scores['source'])}）。得分来自 {scores['n']:,} 条它从未见过的测试文本。",
    )
    return top + source + verdict("stage1_mlp", facts["data"], scores["accuracy"], scores["n"], guess)


def learning(metrics: list[dict[str, Any]]) -> str:
    """Loss and validation, step by step."""
    train = smooth([(line["step"] + 1, line["loss"]) for line in metrics if "loss" in line])
    checks = [line for line in metrics if "validation_loss" in line]
    losses = [(both("training", "训练"), train)]
    title = heading("How it learnt", "它是怎样学会的")
    if not train:
        return title + paragraph("This run left no curve.", "这次运行没有留下曲线。")
    step = both("step (one batch of texts each)", "步（每步一批文本）")
    charts = []
    words = paragraph(
        "The loss is how surprised the network is by the right answer.", "损失是网络对正确答案的惊讶程度。"
    )
    if checks:
        losses.append((both("validation", "验证"), [(line["step"] + 1, line["validation_loss"]) for line in checks]))
        accuracy = [(line["step"] + 1, line["accuracy"]) for line in checks]
        name = both("share right on validation texts", "验证文本上的准确率")
        charts = [line_chart(name, [(both("accuracy", "准确率"), accuracy)], x_name=step, percent=True)]
        words = observed(train[-1][1], checks)
    charts.insert(0, line_chart(both("loss (nats a text)", "损失（奈特/条）"), losses, x_name=step))
    return title + words + f'<div class="pair">{"".join(charts)}</div>'


def observed(final_loss: float, checks: list[dict[str, Any]]) -> str:
    """What the curves show, said from the numbers."""
    last = checks[-1]
    lowest = min(checks, key=lambda line: line["validation_loss"])
    english = (
        "The loss is how surprised the network is by the right answer. It ended at "
        f"{last['validation_loss']:.3f} nats on validation texts and at {final_loss:.3f} on training texts, where "
        "dropout and smoothed labels make the task harder. "
        f"The validation loss was lowest at step {lowest['step'] + 1:,}, and that network was kept. "
    )
    chinese = (
        f"损失是网络对正确答案的惊讶程度。结束时，验证文本上为 {last['validation_loss']:.3f} 奈特；训练文本上为 "
        f"{final_loss:.3f} 奈特，那里有 Dropout 和标签平滑，任务更难。"
        f"验证损失在第 {lowest['step'] + 1:,} 步最低，保留的就是那时的网络。"
    )
    if last["validation_loss"] > 1.02 * lowest["validation_loss"]:
        english += f"From step {lowest['step'] + 1:,} on the validation loss rises again: that is over-fitting."
        chinese += f"从第 {lowest['step'] + 1:,} 步起验证损失回升：这就是过拟合。"
    return paragraph(english, chinese)


def errors(scores: Scores) -> str:
    """Confusion matrix and the scores of each class."""
    matrix, labels = scores["confusion"], scores["labels"]
    off = [(matrix[i][j], i, j) for i in range(len(labels)) for j in range(len(labels)) if i != j]
    most, truth, answer = max(off, default=(0, 0, 0))
    words = paragraph("It confused no two classes.", "它没有混淆任何两个类别。")
    if most:
        a, b = data(labels[truth]), data(labels[answer])
        words = paragraph(
            f"The most frequent mistake: {a} taken for {b}, {most}&nbsp;×.",
            f"最常见的错误：把 {a} 当成 {b}，共 {most} 次。",
        )
    head = (both("class", "类别"), both("precision", "精确率"), both("recall", "召回率"), "F1", both("texts", "条数"))
    lines = "".join(
        f'<tr><th scope="row">{data(row["label"])}</th><td>{percent(row["precision"])}</td>'
        f"<td>{percent(row['recall'])}</td><td>{row['f1']:.3f}</td><td>{row['support']:,}</td></tr>"
        for row in scores["per_class"]
    )
    table = "<tr>" + "".join(f'<th scope="col">{name}</th>' for name in head) + f"</tr>{lines}"
    both_sides = (
        f'<div class="card">{confusion(matrix, labels)}</div>'
        f'<div class="card scroll"><table class="classes">{table}</table></div>'
    )
    return heading("What it confuses", "它会混淆什么") + words + f'<div class="pair">{both_sides}</div>'


def words(scores: Scores) -> str:
    """The words that speak for each class."""
    cards = "".join(
        f'<div class="card"><h4>{data(label)}</h4>{bars([(word, logit) for word, logit in pairs])}</div>'
        for label, pairs in scores["words"].items()
    )
    return (
        heading("The words that speak for each class", "为每个类别说话的词")
        + paragraph(
            "The network was shown each word and pair alone. The number is how far the score of the class then lies "
            "above the scores of the others. Nobody gave it these lists.",
            "让网络单独看每个词和词对。数字是该类别的得分比其他类别平均高出多少。这些词表不是人给的。",
        )
        + f'<div class="cards">{cards}</div>'
    )


def right_and_wrong(scores: Scores) -> str:
    """The most confident mistakes and some right answers, side by side."""
    ask = paragraph(
        "Its most confident mistakes. Would you have chosen the label of the data set?",
        "它最自信的几个错误。换作你，会选数据集给的标签吗？",
        "note",
    )
    wrong = heading("Where it was wrong", "它错在哪里") + ask + examples(scores["wrong"], "wrong")
    sure = paragraph("Texts that it had never seen.", "这些文本它从未见过。", "note")
    right = heading("Where it was right", "它对在哪里") + sure + examples(scores["right"], "right")
    return f'<div class="pair"><div>{wrong}</div><div>{right}</div></div>'


def examples(items: list[dict[str, Any]], kind: str) -> str:
    """Texts with what the network says and how sure it is."""
    cards = []
    for item in items[:EXAMPLES]:
        text = item["text"] if len(item["text"]) <= LONGEST_TEXT else item["text"][:LONGEST_TEXT] + " …"
        truth, said, sure = data(item["truth"]), data(item["predicted"]), percent(item["probability"])
        foot = both(f"{said}, {sure} sure", f"{said}，把握 {sure}")
        if kind == "wrong":
            foot = both(f"says {said}, {sure} sure; it is {truth}", f"网络说 {said}，把握 {sure}；实际是 {truth}")
        foot += because(item["reasons"])
        cards.append(f'<article class="example {kind}"><p>{data(text)}</p><footer>{foot}</footer></article>')
    return f'<div class="examples">{"".join(cards)}</div>' if cards else paragraph("None.", "没有。")


def because(reasons: list[list[Any]]) -> str:
    """The n-grams that the answer rests on."""
    if not reasons:
        return ""
    names = ", ".join(data(name) for name, _ in reasons[:3])
    return f"<br>{both(f'it rests on: {names}', f'主要依据：{names}')}"


def cost(scores: Scores, facts: dict[str, Any]) -> str:
    """Seconds, parameters, latency, hardware, and what identifies the data."""
    hardware, versions = facts["hardware"], facts["versions"]
    machine = f"{hardware['gpu'] or hardware['cpu']}, {hardware['cores']} cores, threads used: {hardware['threads']}"
    return heading("What it cost", "代价") + rows(
        [
            (both("training", "训练用时"), f"{scores['train_seconds']:.1f}&nbsp;s"),
            (both("parameters", "参数量"), f"{scores['parameters']:,}"),
            (both("one text alone", "单条文本"), f"{scores['latency_single_ms']:.2f}&nbsp;ms"),
            (both("a text in batches", "批量时每条"), f"{scores['latency_batch_us']:.0f}&nbsp;µs"),
            (both("machine", "机器"), data(machine)),
            (both("versions", "版本"), data(", ".join(f"{name} {value}" for name, value in versions.items()))),
            (both("data", "数据"), data(f"{facts['data']['name']}, sha256 {facts['data']['sha256'][:16]}")),
            (both("command", "命令"), f"<code>{data(facts['command'])}</code>"),
        ]
    )


def limit_and_next() -> str:
    """What this model cannot do, and commands to try."""
    limit = paragraph(
        "It reads a bag, not a text. Beyond pairs of neighbours it has no order, it remembers nothing from one text to "
        "the next, and a word that no training text held does not exist for it. Reading in order, with a memory, is "
        "what stage 2 is about.",
        "它读的是一袋词，不是一篇文章。除了相邻词对，它没有顺序；读完一条就忘；训练中没出现过的词对它不存在。按顺序、带记忆地阅读，"
        "正是第 2 阶段的内容。",
    )
    tries = [
        (r".venv\Scripts\activate" if sys.platform == "win32" else "source .venv/bin/activate",
         both("in the repository's folder: enter the environment that start.py made",
              "在仓库的文件夹中：进入 start.py 建立的环境")),
        ("cd stage1_mlp", both("where the stage lives", "本阶段所在的文件夹")),
        ("python predict.py --interactive", both("type your own sentence", "输入你自己的句子")),
        ("python train.py --dataset python_docs --hidden 64 64 --activation gelu",
         both("another text, another shape: does it help?", "换一份文本、换一种形状：有用吗？")),
        ("python train.py --lr 1", both("break it: what does the curve do?", "弄坏它：曲线会怎样？")),
        ("python compare.py", both("by hand = from scratch = official", "手写 = 从零 = 官方")),
        ("python experiments.py --studies activations",
         both("measure a claim of the theory page", "测量理论页上的一条说法")),
    ]  # fmt: skip
    return closing(limit, tries)


def percent(share: float) -> str:
    """0.9812 → 98.1 %."""
    return f"{100 * share:.1f}&nbsp;%"

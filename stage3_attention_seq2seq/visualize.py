# ---
# jupyter:
#   jupytext:
#     formats: py:percent,ipynb
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Stage 3 in pictures · 第 3 阶段图解
#
# Run the cells from top to bottom; change a number, run again. Everything here uses the code of this folder. No network is needed: the networks learn to
# translate numbers, dates and times from English into French, and for these it is known which word belongs to which.
#
# 从上到下运行各单元；改一个数，再运行。这里用的全是本文件夹的代码，不需要网络：模型学习把英语的数字、日期和时间译成法语，而且其中哪个词对应哪个词是已知的。

# %%
import math
import time
from collections import Counter

import matplotlib.pyplot as plt
import numpy as np
import torch

from my_llm import metrics
from my_llm.data.catalog import Pair, load_pairs
from my_llm.data.corpora.numbers_en_fr import alignment
from my_llm.data.corpora.translation import WORD
from my_llm.schedules import SCHEDULES
from my_llm.text import BOS, EOS
from my_llm.training import train_steps
from my_llm.translation.alignment import Alignment, draw
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from my_llm.translation.translator import Translator
from stage3_attention_seq2seq.models import DotAttention, Seq2Seq, Seq2SeqConfig
from stage3_attention_seq2seq.translator import align

torch.set_num_threads(1)
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
COLOURS = {"none": ORANGE, "bahdanau": BLUE, "luong_general": GREEN, "local": PURPLE}

# %% [markdown]
# ## 1. A look-up that is soft · 柔和的查找
#
# Three keys, one query that turns round once. The weights are a softmax of the scores: the key that points the same way gets most, and none gets
# nothing. A longer query (dashed) is more decided. No step is a jump, so a gradient can tell the query where to turn.
#
# 三个键，一个转了一整圈的查询。权重是得分的 softmax：方向最一致的键得到最多，但谁都不会是零。查询越长（虚线）就越果断。其中没有跳跃，所以梯度能告诉查询该往哪边转。

# %%
keys = torch.tensor([[1.0, 0.0], [-0.5, 0.9], [-0.5, -0.9]])
look = DotAttention(2, 2, 0)
memory = look.remember(keys[None], torch.ones(1, 3, dtype=torch.bool), keys.mean(0)[None])
angles = torch.linspace(0, 2 * math.pi, 100)
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), width_ratios=(1, 2.4))
for number, (key, colour) in enumerate(zip(keys, (BLUE, ORANGE, GREEN), strict=True)):
    left.annotate("", xy=key.tolist(), xytext=(0, 0), arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
    left.text(*(1.35 * key).tolist(), f"key {number}", color=colour, ha="center", va="center")
    for length, line in ((1.5, "-"), (5.0, "--")):
        query = length * torch.stack([angles.cos(), angles.sin()], dim=1)
        right.plot(angles.rad2deg(), look(query[None], memory)[1][0, :, number], line, color=colour)
left.set(xlim=(-1.5, 1.9), ylim=(-1.5, 1.5), aspect="equal", title="three keys")
left.axis("off")
right.set(xlabel="direction of the query, degrees", title="weight of each key; dashed: a longer query")
plt.show()

# %% [markdown]
# ## 2. Four ways to look back, four trainings · 四种回看方式，四次训练
#
# The same encoder, the same sentences; the slot between encoder and decoder differs, and with it the decoder. `none` must put the whole sentence into one vector.
# A score that multiplies query and key needs longer to find out where to look, and one vector does not come far: so `bahdanau` gets fewer steps than the others. `python train.py` does the same
# for longer, saves it, and can be resumed.
#
# 编码器相同，句子相同；不同的是编码器与解码器之间的那个插槽，以及与它配套的解码器。`none` 必须把整句话装进一个向量。查询与键相乘的得分要更久才学会该看哪里，一个向量则走不远：所以 `bahdanau`
# 的步数比其他的少。`python train.py` 做的是同样的事，时间更长，会保存，也可以续训。

# %%
corpus = load_pairs("numbers_en_fr")
tokenizer = train_tokenizer(corpus.train, 500)
batches = PairBatches(tokenizer, corpus.train, max_length=60, batch_size=32, seed=0)
print(f"{corpus.source}: {len(corpus.train):,} pairs, {tokenizer.vocab_size} tokens\n")
for pair in corpus.validation[:3]:
    pieces = [tokenizer.decode([number]) for number in tokenizer.encode(pair.target)]
    print(f"{pair.source}\n→ {pair.target}\n  {'|'.join(pieces)}\n")

STEPS, EVERY = {"none": 900, "bahdanau": 500, "luong_general": 900, "local": 900}, 100


def train(kind: str) -> tuple[Translator, list[float], list[float]]:
    """A small translator, its loss after every step, and its share of exact translations on the way."""
    torch.manual_seed(0)
    config = Seq2SeqConfig(tokenizer.vocab_size, tokenizer.vocab_size, kind, embedding=64, hidden=64, shared=True)
    translator, losses, exact = Translator(Seq2Seq(config), tokenizer, facts={}), [], []
    optimizer = torch.optim.AdamW(translator.model.parameters(), lr=0.005, betas=(0.9, 0.98))
    schedule = SCHEDULES["cosine"](STEPS[kind], STEPS[kind] // 20)
    options = {"max_steps": STEPS[kind], "schedule": schedule, "clip": 1.0}
    for step in train_steps(translator.model, batches, TranslationLoss(label_smoothing=0.1), optimizer, **options):
        losses.append(step.loss)
        if step.index % EVERY == EVERY - 1:
            exact.append(100 * translator.scores(corpus.validation[:200])["exact"])
    return translator, losses, exact


trained, history = {}, {}
for kind in COLOURS:
    started = time.perf_counter()
    trained[kind], *history[kind] = train(kind)
    print(f"{kind:14} {history[kind][1][-1]:5.1f} % exactly right after {time.perf_counter() - started:.0f} s")

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3))
for kind, (losses, exact) in history.items():
    left.plot(np.convolve(losses, np.ones(20) / 20, mode="valid"), color=COLOURS[kind], label=kind)
    right.plot(range(EVERY, STEPS[kind] + 1, EVERY), exact, "o-", color=COLOURS[kind], label=kind)
left.axhline(math.log(tokenizer.vocab_size), color="gray", linestyle="--", linewidth=1)
left.text(900, math.log(tokenizer.vocab_size), "guessing evenly", color="gray", ha="right", va="top")
left.set(title="training loss, mean of 20 steps", xlabel="step", ylabel="nats per token")
right.set(title="held-out sentences exactly right", xlabel="step", ylabel="%", ylim=(-3, 103))
right.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 3. The alignment that nobody taught · 没有人教过的对齐
#
# Each row is a French word that the network said, each column an English word; the darker, the more it looked there. Circles: the words that truly belong
# together. Only pairs of sentences were given, never pairs of words. The dark cell may stand one beside the circle: every state of the
# encoder has read its neighbours as well. Bahdanau's decoder looks before its step, Luong's after it. `local` guesses a place first and sees five tokens on each
# side of it; with so little training it finds the right neighbourhood at best. Circles are drawn only where the translation is right.
#
# 每一行是网络说出的一个法语词，每一列是一个英语词；颜色越深，看得越多。圆圈是真正对应的词。训练时给的只有成对的句子，从来没有成对的词。深色格子有时会偏到圆圈旁边一格：编码器的每个状态也读过它的邻居。Bahdanau 的解码器先看再走一步，Luong
# 的先走一步再看。`local` 先猜一个位置，只看两侧各五个词元；训练这么少，它最多只能找到大致的区域。只有译文正确时才画圆圈。

# %%
pair = next(pair for pair in corpus.validation if pair.source.startswith("March"))


def looked(translator: Translator, text: str) -> Alignment:
    """What the translator says, and where it looks."""
    (answer,) = translator.translate([text])
    return align(translator, text, answer.tokens)


def true_places(pair: Pair) -> list[tuple[int, int]]:
    """(row, column) of the words that belong together; a word that is written with hyphens says several."""
    column = [number for number, word in enumerate(pair.source.split()) for _ in WORD.findall(word)]
    row = [number for number, word in enumerate(pair.target.split()) for _ in WORD.findall(word)]
    return [(row[part], column[place]) for part, places in enumerate(alignment(pair)) for place in places]


def show_map(ax, found: Alignment, pair: Pair, title: str) -> None:
    ax.imshow(found.weights, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(found.source)), found.source, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(found.target)), found.target)
    if found.target[:-1] == pair.target.split():
        for row, column in true_places(pair):
            ax.plot(column, row, "o", color=ORANGE, markerfacecolor="none", markersize=12)
    ax.set_title(title)


print(draw(looked(trained["bahdanau"], pair.source)))
figure, axes = plt.subplots(1, 3, figsize=(14, 3.8), layout="constrained")
for ax, kind in zip(axes, ("bahdanau", "luong_general", "local"), strict=True):
    show_map(ax, looked(trained[kind], pair.source), pair, kind)
plt.show()

# %% [markdown]
# ## 4. One vector is too small for a long sentence · 一个向量装不下长句子
#
# The share of right translations by the length of the source. Without attention everything passes through one vector of 64 numbers, and the longer the
# sentence, the more is lost on the way. With attention length hardly matters.
#
# 按原文长度统计的正确率。没有注意力时，一切都要通过一个只有 64 个数的向量，句子越长，路上丢得越多。有了注意力，长度就几乎无关紧要。

# %%
groups = [(1, 3), (4, 5), (6, 8)]
held_out = corpus.test[:600]
members = [[n for n, p in enumerate(held_out) if low <= len(p.source.split()) <= high] for low, high in groups]
figure, ax = plt.subplots(figsize=(7, 3))
for offset, kind in ((-0.2, "none"), (0.2, "bahdanau")):
    said = trained[kind].translate([p.source for p in held_out])
    right = np.array([answer.text == p.target for answer, p in zip(said, held_out, strict=True)])
    shares = [100 * right[numbers].mean() for numbers in members]
    ax.bar_label(ax.bar(np.arange(3) + offset, shares, 0.38, color=COLOURS[kind], label=kind), fmt="%.0f")
names = [f"{low} to {high} words\n{len(n)} sentences" for (low, high), n in zip(groups, members, strict=True)]
ax.set_xticks(range(len(groups)), names)
ax.set(ylabel="% exactly right", ylim=(0, 112), title="held-out sentences by length of the source")
ax.legend(loc="upper left", bbox_to_anchor=(1, 1))
plt.show()

# %% [markdown]
# ## 5. BLEU by hand · 手算 BLEU
#
# How many runs of one, two, three and four words of the translation stand in the reference? A word counts at most as often as the reference has it: the
# second and third "la" earn nothing. The four shares are multiplied, the fourth root is taken, and a translation shorter than the reference pays the brevity
# penalty exp(1 − r/c).
#
# 译文中长度为一、二、三、四的词串，有多少出现在参考译文里？每个词串的计数不超过它在参考译文里出现的次数：第二个和第三个 “la” 不得分。四个比例相乘，开四次方；译文比参考译文短时，还要乘上长度惩罚 exp(1 − r/c)。

# %%
reference = ["un", "chien", "court", "dans", "la", "neige", "profonde"]
said = ["la", "chien", "court", "dans", "la", "la", "neige"]


def runs(words: list[str], n: int) -> Counter[str]:
    return Counter(" ".join(words[start : start + n]) for start in range(len(words) - n + 1))


figure, ax = plt.subplots(figsize=(6, 2.6))
product = 1.0
for n in range(1, 5):
    ours, theirs = runs(said, n), runs(reference, n)
    hits, all_runs = sum((ours & theirs).values()), ours.total()
    product *= hits / all_runs
    ax.bar(n, all_runs, color="#dddddd")
    ax.bar(n, hits, color=BLUE)
    ax.text(n, all_runs + 0.1, f"{hits} / {all_runs}", ha="center", va="bottom")
    print(f"{n}: {hits} of {all_runs}   {', '.join((ours & theirs).elements())}")
penalty = min(1.0, math.exp(1 - len(reference) / len(said)))
print(f"\nBLEU = {penalty:.2f} · {product:.4f} ^ (1/4) = {100 * penalty * product**0.25:.2f}")
print(f"metrics.bleu says       {metrics.bleu([' '.join(said)], [' '.join(reference)]):.2f}")
shorter = metrics.bleu([" ".join(said[:-1])], [" ".join(reference)])
print(f"without its last word   {shorter:.2f}, brevity penalty included")
ax.set(xlabel="words in a run", ylabel="runs", ylim=(0, 8.2), title="found in the reference (blue), of all (grey)")
plt.show()

# %% [markdown]
# ## 6. A beam is a tree that is pruned · 束搜索是一棵不断修剪的树
#
# Three beginnings are kept at every step: those with the largest probability of all words so far. Greedy decoding would follow the likeliest word only. The network
# without attention is unsure, so that there is something to choose; blue is the way that wins, and the numbers are log-probabilities.
#
# 每一步保留三个开头：到目前为止整串概率最大的三个。贪心解码只跟着最可能的那个词走。没有注意力的网络拿不定主意，所以这里有得选；蓝色是获胜的路径，数字是对数概率。

# %%
Beginning = tuple[float, list[int], list[int]]  # log-probability, tokens, the row in which it stood at every step


@torch.no_grad()
def beam(translator: Translator, text: str, width: int) -> list[list[Beginning]]:
    """The beginnings that live after every step, the best first."""
    source, rounds = torch.tensor(encode_sources(tokenizer, [text])), [[(0.0, [BOS], [0])]]
    while len(rounds) < 15 and any(tokens[-1] != EOS for _, tokens, _ in rounds[-1]):
        candidates = [beginning for beginning in rounds[-1] if beginning[1][-1] == EOS]
        for score, tokens, rows in rounds[-1]:
            if tokens[-1] != EOS:
                logits, _ = translator.model(source, torch.tensor([source.shape[1]]), torch.tensor([tokens]))
                best = logits[0, -1].log_softmax(-1).topk(width)
                pairs = zip(best.values.tolist(), best.indices.tolist(), strict=True)
                candidates += [(score + gain, [*tokens, token], rows) for gain, token in pairs]
        candidates.sort(reverse=True)
        rounds.append([(score, tokens, [*rows, row]) for row, (score, tokens, rows) in enumerate(candidates[:width])])
    return rounds


sentence = next(p for p in corpus.validation if len(tokenizer.encode(p.target)) == 6)
rounds = beam(trained["none"], sentence.source, width=3)
winner, names = rounds[-1][0][2], {BOS: "<bos>", EOS: "<eos>"}
figure, ax = plt.subplots(figsize=(13, 3.2))
for number, living in enumerate(rounds):
    for row, (score, tokens, rows) in enumerate(living):
        if len(tokens) <= number:  # at its end since an earlier step
            continue
        colour = BLUE if winner[number] == row else "gray"
        if number:
            ax.plot([number - 0.7, number - 0.36], [-rows[-2], -row], color=colour)
        word = names.get(tokens[-1]) or tokenizer.decode(tokens[-1:]).replace(" ", "␣")
        ax.text(number, -row, word, ha="center", va="center", color=colour, weight="bold")
        ax.text(number, -row - 0.22, f"{score:.2f}", ha="center", va="center", color="gray", fontsize=8)
ax.set(xlim=(-0.5, len(rounds) - 0.4), ylim=(-2.5, 0.5), title=f"“{sentence.source}”   right: “{sentence.target}”")
ax.axis("off")
plt.show()
for score, tokens, _ in rounds[-1]:
    print(f"{score:7.2f}  {tokenizer.decode(token for token in tokens if token not in (BOS, EOS))}")

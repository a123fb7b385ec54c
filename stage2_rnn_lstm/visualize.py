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
# # Stage 2 in pictures · 第 2 阶段图解
#
# Run the cells from top to bottom; change a number, run again. Everything here uses the code of this folder. No network is needed: without
# Shakespeare on this machine, the network learns to write Python.
#
# 从上到下运行各单元；改一个数，再运行。这里用的全是本文件夹的代码，不需要网络：如果机器上没有莎士比亚，网络就学写 Python。

# %%
import math
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from my_llm.data.catalog import load_text
from my_llm.language.scoring import nats_of
from my_llm.text import CharTokenizer
from my_llm.training import train_steps
from stage2_rnn_lstm.data import Streams
from stage2_rnn_lstm.language import CarriedLoss
from stage2_rnn_lstm.models import CELLS, LanguageModel, LanguageModelConfig, NGramModel, Recurrent
from stage2_rnn_lstm.writer import writer_of

plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"
COLOURS = {"rnn": ORANGE, "lstm": BLUE, "gru": GREEN}

# %% [markdown]
# ## 1. A state that is rewritten at every step · 每一步都被改写的状态
#
# A new LSTM with eight cells reads one impulse and then nothing. The memory c (left) fades slowly, because its forget gates start at σ(1) = 0.73; what it
# shows, h (right), is a squeezed and gated copy.
#
# 一个有八个单元的新 LSTM 先读到一个脉冲，之后什么也没有。记忆 c（左）慢慢消退，因为遗忘门一开始是 σ(1) = 0.73；它展示出来的 h（右）是压缩并经过门控的副本。

# %%
torch.manual_seed(1)
layer = CELLS["lstm"](1, 8)
impulse = torch.zeros(20, 1, 1)
impulse[0] = 3.0
with torch.no_grad():
    h, (_, c) = layer(impulse)
figure, axes = plt.subplots(1, 2, figsize=(9, 2.6), sharey=True)
for ax, memory, name in zip(axes, (c, h), ("c, the memory", "h, the output")):
    picture = ax.imshow(memory[:, 0].T, cmap="RdBu_r", vmin=-0.8, vmax=0.8, aspect="auto")
    ax.set(title=name, xlabel="step", ylabel="cell")
figure.colorbar(picture, ax=axes)
plt.show()

# %% [markdown]
# ## 2. How far back does a gradient reach? · 梯度能传回多远？
#
# The loss looks at the last of 60 steps only. How much would it change if the input of an earlier step changed a little? In the plain RNN each step back
# multiplies by the same kind of matrix; in the LSTM the way back leads through a sum.
#
# 损失只看 60 步中的最后一步。如果更早某一步的输入稍微变化，损失会变化多少？在普通 RNN 中，每往回一步都要乘上同一类矩阵；在 LSTM 中，回去的路经过的是加法。

# %%
figure, ax = plt.subplots(figsize=(6, 3.2))
for name, cell in CELLS.items():
    norms = []
    for seed in range(5):
        torch.manual_seed(seed)
        layer, x = cell(16, 64), torch.randn(60, 8, 16, requires_grad=True)
        layer(x)[0][-1].square().sum().backward()
        norms.append(x.grad.norm(dim=(1, 2)).flip(0))
    ax.semilogy(torch.stack(norms).mean(0), label=name.upper(), color=COLOURS[name])
ax.set(title="new networks, mean of 5 seeds", xlabel="steps back", ylabel="norm of the gradient")
ax.legend()
plt.show()

# %% [markdown]
# ## 3. An LSTM learns to write · LSTM 学习写作
#
# Two hundred steps, and what it writes before, on the way and after. `python train.py` does the same for longer, saves it, and can be resumed.
#
# 两百步，以及它在训练之前、途中和之后写的东西。`python train.py` 会做同样的事，时间更长，会保存，也可以续训。

# %%
corpus = load_text("auto")
tokenizer = CharTokenizer.train([corpus.train])
tokens, held_out = (
    torch.tensor(tokenizer.encode(corpus.train)),
    torch.tensor(tokenizer.encode(corpus.validation))[:20_000],
)
torch.manual_seed(0)
model = LanguageModel(LanguageModelConfig(tokenizer.vocab_size, hidden=192))
print(corpus.source)


def written(length: int = 160, temperature: float = 0.8) -> str:
    text = "".join(writer_of(model, tokenizer, facts={}).write("\n", length=length, temperature=temperature))
    model.train()
    return text


STEPS, losses, started = 200, [], time.perf_counter()
streams = Streams(tokens, batch_size=16, length=64)
optimizer = torch.optim.AdamW(model.parameters(), lr=0.005)
print(f"--- before\n{written()}\n")
for step in train_steps(model, streams, CarriedLoss(), optimizer, max_steps=STEPS, clip=1.0):
    losses.append(step.loss)
    if step.index + 1 in (STEPS // 4, STEPS):
        print(f"--- after {step.index + 1} steps\n{written()}\n")
loss = nats_of(model, held_out)
print(f"{loss.total / loss.count:.3f} nats per character on text that it has not seen")

# %%
figure, ax = plt.subplots(figsize=(6, 3))
ax.plot(losses, color=BLUE)
ax.axhline(math.log(tokenizer.vocab_size), color="gray", linestyle="--", label="guessing evenly")
ax.set(title="training loss", xlabel="step", ylabel="nats per character")
ax.legend()
plt.show()

# %% [markdown]
# ## 4. What does it expect? · 它期待什么？
#
# For each character the probability that the network gave it, and the three characters that it found likeliest. After the first letters of a word the rest
# is often easy; the beginnings of words are hard.
#
# 对每个字符，画出网络给它的概率，以及网络认为最可能的三个字符。一个词开了头，后面往往很容易；词的开头才难。

# %%
text = corpus.validation[:46]
with torch.no_grad():
    model.eval()
    probabilities = model(torch.tensor([tokenizer.encode(text)]))[0].softmax(-1)[0]
ids = tokenizer.encode(text)
figure, ax = plt.subplots(figsize=(12, 2.8))
given = [float(probabilities[t, ids[t + 1]]) for t in range(len(ids) - 1)]
ax.bar(range(1, len(ids)), given, color=[BLUE if p > 0.3 else ORANGE for p in given])
shown = {"\n": "↵", " ": "␣"}
ax.set_xticks(range(1, len(ids)), [shown.get(character, character) for character in text[1:]], family="monospace")
for t in range(len(ids) - 1):
    guesses = [tokenizer.decode([number]) for number in probabilities[t].topk(3).indices.tolist()]
    for row, guess in enumerate(guesses):
        ax.text(
            t + 1, 1.3 - 0.1 * row, shown.get(guess, guess), ha="center", family="monospace", fontsize=8, color="gray"
        )
ax.set(ylim=(0, 1.4), ylabel="probability", title="the next character: given (bars), expected (grey)")
plt.show()

# %% [markdown]
# ## 5. What a cell keeps track of · 一个单元在记什么
#
# The memory of four cells while the network reads. Some follow the position in the line or in the word; nobody told them to. `experiments.py --studies
# tracking_cells` looks for such cells in earnest, with a comparison against chance.
#
# 网络阅读时四个单元的记忆。有的跟踪行内或词内的位置，没有人要求它们这样做。`experiments.py --studies tracking_cells` 认真地寻找这样的单元，并与偶然水平比较。

# %%
text = corpus.validation[:240]
with torch.no_grad():
    x = model.embedding(torch.tensor([tokenizer.encode(text)]).t())
    _, (_, memory) = model.recurrent.layers[0](x)
memory = memory[:, 0].numpy()  # (T, H)
line = np.array([len(text[:t].rsplit("\n", 1)[-1]) for t in range(len(text))])
correlation = np.array([np.corrcoef(memory[:, cell], line)[0, 1] for cell in range(memory.shape[1])])
chosen = np.argsort(-np.nan_to_num(np.abs(correlation)))[:4]
figure, ax = plt.subplots(figsize=(12, 3))
shown = (memory[:, chosen] - memory[:, chosen].mean(0)) / memory[:, chosen].std(0)
ax.imshow(shown.T, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
for t in np.flatnonzero([character == "\n" for character in text]):
    ax.axvline(t, color="black", linewidth=1)
ax.set(
    yticks=range(4),
    yticklabels=[f"cell {cell}, r = {correlation[cell]:.2f}" for cell in chosen],
    xlabel="character; black: line end",
)
ax.set_title("the four cells that follow the position in the line most closely")
plt.show()

# %% [markdown]
# ## 6. Boldness · 大胆程度
#
# The same network at three temperatures: dull and safe, balanced, wild.
#
# 同一个网络，三种温度：呆板而稳妥、适中、狂野。

# %%
for temperature in (0.3, 0.8, 1.5):
    print(f"--- temperature {temperature}\n{written(140, temperature)}\n")

# %% [markdown]
# ## 7. Counting does well, too · 只靠计数也不错
#
# n-grams with Kneser–Ney smoothing need no gradient and seconds. Longer contexts help until the text is too short to have seen them.
#
# 带 Kneser–Ney 平滑的 n-gram 不需要梯度，只要几秒。上下文越长越好，直到文本太短、没见过这么长的片段为止。

# %%
orders = range(1, 9)
nats = [float(NGramModel.fit(tokens, tokenizer.vocab_size, order).score(held_out)[1:].mean()) for order in orders]
figure, ax = plt.subplots(figsize=(6, 3))
ax.plot(orders, nats, "o-", color=ORANGE, label="n-grams")
ax.axhline(float(loss.total) / loss.count, color=BLUE, label=f"this LSTM after {STEPS} steps")
ax.set(xlabel="characters of an n-gram", ylabel="nats per character", title="on text that none of them has seen")
ax.legend()
plt.show()

# %% [markdown]
# ## 8. The price of order · 顺序的代价
#
# Reading twice as many steps takes twice as long, however many processors there are: step t waits for step t − 1. That, and the one state that must hold
# everything, is what the next stages remove.
#
# 步数加倍，时间就加倍，处理器再多也没用：第 t 步要等第 t − 1 步。这一点，加上必须装下一切的那一个状态，正是后面几个阶段要去掉的。

# %%
reader, lengths, seconds = Recurrent(64, 128), [32, 64, 128, 256, 512], []
for length in lengths:
    x = torch.randn(length, 8, 64)
    trials = []
    for _ in range(5):
        begun = time.perf_counter()
        reader(x)[0].sum().backward()
        trials.append(time.perf_counter() - begun)
    seconds.append(min(trials))
figure, ax = plt.subplots(figsize=(5, 3))
ax.plot(lengths, [1000 * s for s in seconds], "o-", color=BLUE)
ax.set(xlabel="steps", ylabel="ms, forward and backward", title="one LSTM layer of 128")
plt.show()

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
# # Stage 5 in pictures · 第 5 阶段图解
#
# Run the cells from top to bottom; change a number, run again. Everything here uses the code of this folder. No network is needed: a small GPT learns to write Python from Python's own library, and then one looks at how it chooses the next token.
#
# 从上到下运行各单元；改一个数，再运行。这里用的全是本文件夹的代码，不需要网络：一个小 GPT 从 Python 自己的标准库学写 Python，然后看它怎样选出下一个词元。

# %%
import time

import matplotlib.pyplot as plt
import numpy as np
import torch

from my_llm.data.catalog import load_text
from my_llm.language.batches import Windows
from my_llm.language.candidates import Listing, spelled
from my_llm.language.writer import Writer
from my_llm.sampling import filtered, shares
from my_llm.schedules import SCHEDULES
from my_llm.text import GPT2Tokenizer
from my_llm.training import train_steps
from stage4_transformer.models import causal_mask
from stage5_gpt.language import next_token_loss, step_of
from stage5_gpt.models import GPT, PUBLISHED, SIZES, GPTConfig, Muon, config_of, cost_of, orthogonalized

torch.set_num_threads(1)
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"

# %% [markdown]
# ## 1. Text becomes tokens · 文本变成词元
#
# A GPT reads numbers. GPT-2's tokenizer begins with the 256 bytes and joins the commonest neighbours, again and again; a space belongs to the word after it. Each box is one token. Frequent words are whole, rare ones fall into pieces, and nothing is unknown: a Chinese character that it never saw is three bytes.
#
# GPT 读的是数。GPT-2 的分词器从 256 个字节开始，一次又一次地合并最常见的相邻对；空格属于它后面的词。每个方框是一个词元。常见的词是完整的，少见的词碎成几片，没有什么是不认识的：从没见过的汉字就是三个字节。

# %%
corpus = load_text("python_library")
tokenizer = GPT2Tokenizer.train([corpus.train[:500_000]], 512)
LINES = ["    def __init__(self, name=None):", "for number in range(10): print(number)", "unbelievable 汉字"]
figure, ax = plt.subplots(figsize=(13, 1.9))
for row, line in enumerate(LINES):
    place = 0.0
    for count, number in enumerate(tokenizer.encode(line)):
        piece = spelled(tokenizer, number)[1:-1].replace(" ", "·")
        colour = (BLUE, GREEN)[count % 2]
        box = {"boxstyle": "round,pad=0.25", "facecolor": colour, "alpha": 0.25, "edgecolor": "none"}
        ax.text(place, -row, piece, bbox=box, family="monospace", fontsize=10, va="center")
        place += len(piece) + 1.2
ax.set(xlim=(-1, 75), ylim=(-len(LINES) + 0.4, 0.6))
ax.axis("off")
plt.show()

# %% [markdown]
# ## 2. Nobody sees what comes · 谁也看不到后面
#
# A row is a token that looks, a column one that is looked at. So one pass over T tokens answers T questions at once, each with its own past, and that is why training is quick. A model that writes has read all but the newest token already: three new ones ask three rows, a single one asks a single row, and sees all.
#
# 每行是一个在看的词元，每列是一个被看的词元。因此一次读 T 个词元就同时回答了 T 个问题，每个问题只有自己的过去，训练因此很快。写作时，除了最新的词元都已读过：三个新词元只问三行，一个新词元只问一行，并且看得到全部。

# %%
masks = {"training: 10 tokens": causal_mask(10, 10), "3 new ones": causal_mask(3, 10), "writing": causal_mask(1, 10)}
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for ax, (title, mask) in zip(axes, masks.items(), strict=True):
    ax.imshow(mask, cmap="Blues", vmin=0, vmax=1.4)
    ax.hlines(np.arange(-0.5, len(mask)), -0.5, 9.5, color="white")
    ax.vlines(np.arange(-0.5, 10), -0.5, len(mask) - 0.5, color="white")
    ax.set(xticks=(), yticks=(), title=title, xlabel=f"{int(mask.sum())} scores")
plt.show()

# %% [markdown]
# ## 3. What it costs, before it is built · 动工之前先算代价
#
# Parameters, operations of one training token, and memory for weights, gradients and Adam's means, all from the sizes alone. For GPT-2's four the number of parameters is the one that its authors' files hold. "Embeddings" is the share of the parameters that is a table: most of a small model, little of a large one.
#
# 参数、训练一个词元的运算，以及权重、梯度和 Adam 的均值所占的内存，全由尺寸算出。GPT-2 四个模型的参数个数与作者公布的文件一致。“embeddings” 是参数中属于查找表的比例：小模型的大部分，大模型的一小部分。

# %%
print(f"{'size':12}{'layers':>7}{'width':>7}{'parameters':>15}{'embeddings':>12}{'MFLOP/token':>13}{'state, GB':>11}")
for size in SIZES:
    config = config_of(size)
    cost = cost_of(config)
    tables = (config.vocab_size + config.context) * config.model / cost.parameters
    assert PUBLISHED.get(size, cost.parameters) == cost.parameters
    facts = f"{cost.parameters:15,}{tables:12.0%}{cost.flops_per_token / 1e6:13,.1f}{cost.state_bytes / 1e9:11.3f}"
    print(f"{size:12}{config.layers:7}{config.model:7}{facts}")

# %% [markdown]
# ## 4. A GPT in half a minute · 半分钟训练一个 GPT
#
# Four blocks, 128 numbers wide, with what later models changed: rotary positions, norms without weights, squared ReLU, and Muon for the matrices. Every fifty steps it writes what may follow "def ": first noise, then brackets and `self`, then lines that look like Python. `python train.py` does the same for longer, saves it, and can be resumed.
#
# 四个块，宽 128，用了后来的模型改动过的部件：旋转位置，没有权重的归一化，平方 ReLU，以及矩阵用的 Muon。每五十步让它写 “def ” 之后的内容：先是噪声，然后是括号和 `self`，然后是看起来像 Python 的行。`python train.py` 做的是同样的事，时间更长，会保存，也可以续训。

# %%
MODERN = {"positions": "rotary", "norm": "rms_plain", "activation": "relu2", "bias": False, "query_key_norm": True}
STEPS, EVERY = 200, 50
torch.manual_seed(0)
model = GPT(GPTConfig(vocab_size=tokenizer.vocab_size, context=64, model=128, tied=False, quiet=True, **MODERN))
tables = {"params": [model.embedding.weight, model.head.weight]}
optimizer = Muon([{"params": [*model.blocks.parameters()], "orthogonal": True, "lr": 0.02}, tables], lr=0.01)
windows = Windows(torch.tensor(tokenizer.encode(corpus.train[:1_500_000])), 16, model.config.context)
options = {"max_steps": STEPS, "schedule": SCHEDULES["linear"](STEPS, 0)}


def sample() -> str:
    """What it writes as it is now."""
    writer = Writer(model, tokenizer, facts={}, step=step_of(model))
    return "def " + "".join(writer.write("def ", length=40, temperature=0.7))


print(f"before\n{sample()}")
losses, started = [], time.process_time()
for step in train_steps(model, windows, next_token_loss, optimizer, **options):
    losses.append(step.loss)
    if len(losses) % EVERY == 0:
        print(f"\n{'─' * 10} after {len(losses)} steps, {time.process_time() - started:.0f} s\n{sample()}")
        model.train()
figure, ax = plt.subplots(figsize=(7, 2.4))
ax.plot(losses, color=BLUE)
ax.axhline(np.log(tokenizer.vocab_size), color="grey", linestyle=":")
ax.set(title="loss; dotted: all tokens alike", xlabel="step", ylabel="nats a token")
plt.show()

# %% [markdown]
# ## 5. One step: from logits to a token · 一步：从 logits 到词元
#
# For each token that it writes, the model says how likely every one of the vocabulary is. Here are the five likeliest of each step; the arrow marks the one that was drawn.
#
# 每写一个词元，模型都会说出词表中每个词元的可能性。下面是每一步最可能的五个；箭头标出抽中的那一个。

# %%
writer, PROMPT = Writer(model, tokenizer, facts={}, step=step_of(model)), "    def __init__(self"
print(PROMPT + "".join(writer.write(PROMPT, length=8, temperature=0.8, watch=Listing(tokenizer, 5, print))))

# %% [markdown]
# ## 6. One distribution, five ways to draw · 同一个分布，五种抽法
#
# The twenty likeliest tokens after the same beginning, in the same order everywhere. A low temperature makes the likely likelier. Top-k keeps a number of tokens, top-p a share of the probability, min-p all that are not much less likely than the first. What is cut has no bar; the rest shares its probability.
#
# 同样的开头之后最可能的二十个词元，各图次序相同。低温让可能的更可能。top-k 保留一定个数的词元，top-p 保留一定份额的概率，min-p 保留所有不比第一名差太多的。被去掉的没有柱子，其余的分掉它们的概率。

# %%
with torch.inference_mode():
    logits = model(torch.tensor([tokenizer.encode("        if self.")]))[0][:, -1]
order = logits[0].argsort(descending=True)[:20]
WAYS = {
    "as it is": {}, "temperature 0.5": {"temperature": 0.5}, "top-k 5": {"top_k": 5},
    "top-p 0.5": {"top_p": 0.5}, "min-p 0.2": {"min_p": 0.2},
}  # fmt: skip
figure, axes = plt.subplots(1, len(WAYS), figsize=(14, 3.2), sharey=True, sharex=True, layout="constrained")
for ax, (title, way) in zip(axes, WAYS.items(), strict=True):
    drawn = shares(*filtered(logits, **way))[0]
    ax.barh(range(20), drawn[order], color=BLUE)
    ax.set(title=title, xlabel=f"{int((drawn > 0).sum())} tokens can be drawn")
axes[0].set_yticks(range(20), [spelled(tokenizer, number) for number in order.tolist()], family="monospace", fontsize=8)
axes[0].invert_yaxis()
plt.show()

# %% [markdown]
# ## 7. The road through the blocks · 穿过各块的路
#
# Each block only adds to what flows along. So after every block one can ask: if the head read this now, what would it say (the "logit lens")? Left, how large the stream is, and how much each block added; middle, how probable the token is that really follows, on held-out text; right, the likeliest token after each block for one beginning.
#
# 每个块只是往流过的数上加一点。因此在每个块之后都可以问：如果输出头现在就读，它会说什么（“logit lens”）？左：流有多大，每个块加了多少；中：在没见过的文本上，真正的下一个词元的概率；右：对一个开头，每个块之后最可能的词元。

# %%
stream: list[torch.Tensor] = []
hooks = [model.blocks[0].register_forward_pre_hook(lambda block, given: stream.append(given[0]))]
hooks += [block.register_forward_hook(lambda block, given, said: stream.append(said)) for block in model.blocks]
held_out = torch.tensor(tokenizer.encode(corpus.validation))[: 64 * 65].view(64, 65)
LINE = "import sys\n\nclass Reader:\n    def read(self, name"
with torch.inference_mode():
    model(held_out[:, :-1])
    states, _ = torch.stack(stream), stream.clear()  # (L + 1, B, T, D)
    said = model.head(model.norm(states)).softmax(dim=-1)
    right = said.gather(-1, held_out[:, 1:].expand(len(states), -1, -1)[..., None]).mean(dim=(1, 2, 3))
    model(torch.tensor([tokenizer.encode(LINE)]))
    lens = model.head(model.norm(torch.stack(stream)[:, 0])).argmax(dim=-1)[:, -8:]  # (L + 1, 8)
for hook in hooks:
    hook.remove()
places = ["first", *(f"block {number}" for number in range(1, len(states)))]
figure, axes = plt.subplots(1, 3, figsize=(14, 2.8), layout="constrained", width_ratios=(1, 1, 2))
axes[0].plot(places, states.norm(dim=-1).mean(dim=(1, 2)), "o-", color=BLUE, label="stream")
axes[0].plot(places[1:], (states[1:] - states[:-1]).norm(dim=-1).mean(dim=(1, 2)), "o-", color=ORANGE, label="added")
axes[0].set(ylim=(0, None), title="mean length")
axes[0].legend()
axes[1].plot(places, 100 * right, "o-", color=GREEN)
axes[1].set(ylim=(0, None), title="probability of what follows, mean", ylabel="%")
axes[2].axis("off")
axes[2].set_title("likeliest next token, if the head read here")
heads, *cells = [[spelled(tokenizer, n) for n in row] for row in (tokenizer.encode(LINE)[-8:], *lens.tolist())]
likeliest = axes[2].table(cells, rowLabels=places, colLabels=heads, bbox=(0, 0, 1, 1), cellLoc="center")
likeliest.auto_set_font_size(False)
plt.show()

# %% [markdown]
# ## 8. What was read need not be read again · 读过的不必再读
#
# With the cache a new token costs one token and a look at the rows so far; without it everything is read anew. Both say the same, up to the last digits.
#
# 有缓存时，一个新词元只需要一个词元的计算，再看一眼已有的行；没有缓存，一切都要重读。两者说的一样，只差最后几位小数。


# %%
@torch.inference_mode()
def write(cached: bool, count: int = 250) -> tuple[torch.Tensor, np.ndarray]:
    """The logits of so many tokens, whatever they say, and the milliseconds of each."""
    written, cache, logits, clock = torch.zeros(1, 1, dtype=torch.long), wide.new_cache(1), [], [time.process_time()]
    for _ in range(count):
        now, cache = wide(written[:, -1:], cache) if cached else wide(written)
        logits.append(now[:, -1])
        written = torch.cat([written, logits[-1].argmax(dim=1, keepdim=True)], dim=1)
        clock.append(time.process_time())
    return torch.cat(logits), 1000 * np.diff(clock)


torch.manual_seed(0)
wide = GPT(config_of("3m", context=256)).eval()
turns = {cached: [write(cached) for _ in range(2)] for cached in (False, True)}
print(f"largest difference of a logit: {(turns[True][0][0] - turns[False][0][0]).abs().max():.0e}")
figure, ax = plt.subplots(figsize=(7, 2.4))
for cached, label, colour in ((False, "all tokens again", ORANGE), (True, "keys and values kept", BLUE)):
    ax.plot(np.min([taken for _, taken in turns[cached]], axis=0), color=colour, label=label)
ax.set(xlabel="tokens already written", ylabel="ms", ylim=(0, None), title="time for the next token, best of 2 turns")
ax.legend()
plt.show()

# %% [markdown]
# ## 9. Every direction alike · 各个方向一样
#
# A gradient stretches few directions and forgets the rest (grey). Muon steps along the matrix whose singular values are all 1. It never computes them: a polynomial of products pulls each one there, round by round (left, the polynomial; right, the values of a matrix as they come).
#
# 梯度拉长少数几个方向，忘掉其余的（灰色）。Muon 沿着奇异值全为 1 的矩阵走一步。它从不计算奇异值：一个由乘积组成的多项式一轮一轮地把每个值拉过去（左：多项式；右：一个矩阵的奇异值的变化）。

# %%
torch.manual_seed(0)
u, v = torch.linalg.qr(torch.randn(2, 64, 64))[0]
matrix = (u * torch.logspace(0, -2, 64)) @ v.mT
figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.8), layout="constrained")
values = torch.linspace(0.001, 1, 400)
for rounds, colour in ((1, PURPLE), (2, GREEN), (3, ORANGE), (5, BLUE)):
    pulled = torch.linalg.svdvals(orthogonalized(matrix[None], rounds)[0])
    right.plot(pulled, color=colour, label=f"{rounds} rounds" if rounds > 1 else "1 round")
    y = values
    for _ in range(rounds):
        y = 3.4445 * y - 4.7750 * y**3 + 2.0315 * y**5
    left.plot(values, y, color=colour)
right.plot(torch.linalg.svdvals(matrix), color="grey", label="before")
left.set(xlabel="singular value before", ylabel="after", title="the polynomial")
right.set(xlabel="number of the singular value", title="of a matrix", ylim=(0, None))
right.legend()
plt.show()

# %% [markdown]
# ## Questions · 问题
#
# 1. In section 1, train the tokenizer to 300 and to 4000 tokens. How many boxes do the three lines have?
# 2. In section 3, at which size does attention's part, 12 L T D, become a tenth of all operations? Try other contexts.
# 3. In section 4, leave out Muon: `torch.optim.AdamW(model.parameters(), lr=0.002)`. How many steps later does it reach the same loss?
# 4. In section 6, raise the temperature to 2 together with top-p 0.9, then with min-p 0.1. Which keeps fewer tokens, and why?
#
# 1. 在第 1 节把分词器训练到 300 和 4000 个词元。三行各有多少个方框？
# 2. 在第 3 节，到哪个尺寸注意力的部分 12 L T D 占全部运算的十分之一？试试别的上下文。
# 3. 在第 4 节去掉 Muon：`torch.optim.AdamW(model.parameters(), lr=0.002)`。要晚多少步才达到同样的损失？
# 4. 在第 6 节把温度升到 2，同时用 top-p 0.9，再换成 min-p 0.1。哪个留下的词元更少？为什么？

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
# # Stage 4 in pictures · 第 4 阶段图解
#
# Run the cells from top to bottom; change a number, run again. Everything here uses the code of this folder. No network is needed: a small Transformer learns to translate numbers, dates and times from English into French, and then all that its heads look at is drawn.
#
# 从上到下运行各单元；改一个数，再运行。这里用的全是本文件夹的代码，不需要网络：一个小 Transformer 学习把英语的数字、日期和时间译成法语，然后把它的每个头所看的地方都画出来。

# %%
import math
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, display
from torch.nn.functional import cross_entropy

from my_llm import heatmaps
from my_llm.data.catalog import load_pairs
from my_llm.schedules import SCHEDULES
from my_llm.text import BOS
from my_llm.training import train_steps
from my_llm.translation.batches import PairBatches, encode_sources, train_tokenizer
from my_llm.translation.loss import TranslationLoss
from my_llm.translation.translator import Translator
from stage4_transformer.models import by_hand
from stage4_transformer.models.attention import causal_mask, padding_mask, window_mask
from stage4_transformer.models.language_model import TransformerLM, TransformerLMConfig
from stage4_transformer.models.positions import POSITIONS
from stage4_transformer.models.transformer import Transformer, TransformerConfig
from stage4_transformer.translating import blocks

torch.set_num_threads(1)
plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"

# %% [markdown]
# ## 1. Attention on three words · 三个词的注意力
#
# Each word has a query (what it looks for), a key (what it can be found by) and a value (what it hands over), here of two numbers each. Every query is multiplied with every key; divided by √2; the softmax makes weights of each row; and every word gets the mean of the values with its weights. "barks" looks for someone who barks: its query points where the key of "dog" points.
#
# 每个词都有一个查询（它在找什么）、一个键（凭什么被找到）和一个值（它交出什么），这里每个只有两个数。每个查询与每个键相乘，除以 √2，softmax 把每一行变成权重，每个词再按自己的权重得到各个值的平均。“barks”在找谁在叫：它的查询与 “dog” 的键方向相同。

# %%
words = ["the", "dog", "barks"]
query = np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]])
key = np.array([[0.0, 1.0], [2.0, 0.0], [-1.0, 1.0]])
value = np.array([[1.0, 0.0], [0.0, 2.0], [-1.0, 1.0]])

scores = query @ key.T
powers = np.exp(scores / math.sqrt(2))
weights = powers / powers.sum(axis=1, keepdims=True)
assert np.allclose(by_hand.attention(query[None, None], key[None, None], value[None, None])[0], weights @ value)
matrices = {"query · key": scores, "weights": weights, "values": value, "weighted means": weights @ value}
figure, axes = plt.subplots(1, 4, figsize=(13, 2.8), layout="constrained")
for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
    limit = {"query · key": 8, "weights": 1}.get(title, 3)
    ax.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for (row, column), number in np.ndenumerate(matrix):
        colour = "white" if abs(number) > 0.6 * limit else "black"
        ax.text(column, row, f"{number:.2f}", ha="center", va="center", color=colour)
    ax.set_xticks(range(len(matrix.T)), words if len(matrix.T) == 3 else ["1st", "2nd"])
    ax.set_yticks(range(3), words)
    ax.set_title(title)
plt.show()

# %% [markdown]
# ## 2. What √K is for · √K 有什么用
#
# The product of two random vectors of K numbers has variance K. Without the root, a wide head is sure of one key before it has learnt anything (left), and where the softmax is sure, hardly any gradient comes through (right): the head cannot change its mind. With the root K hardly matters.
#
# 两个 K 维随机向量的点积方差为 K。不除以根号，宽的头还什么都没学就已经认定了某一个键（左）；而 softmax 一旦认定，就几乎没有梯度通过（右）：这个头再也改不了主意。除以根号后，K 的大小几乎无关紧要。

# %%
torch.manual_seed(0)
widths = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8))
for label, power, colour in (("with √K", 0.5, BLUE), ("without", 0.0, ORANGE)):
    surest, gradient = [], []
    for width in widths:
        scores = (torch.randn(400, 1, width) @ torch.randn(400, width, 16) / width**power).requires_grad_()
        alpha = scores.softmax(dim=2)
        alpha.backward(torch.randn_like(alpha))
        surest.append(alpha.amax(dim=2).mean().item())
        gradient.append(scores.grad.norm(dim=2).mean().item())
    left.semilogx(widths, surest, "o-", color=colour)
    right.semilogx(widths, gradient, "o-", color=colour, label=label)
left.set(ylim=(0, 1.03), xlabel="K, width of a head", title="largest of 16 weights, mean")
right.set(ylim=(0, None), xlabel="K, width of a head", title="size of the gradient of the scores, mean")
right.legend()
plt.show()

# %% [markdown]
# ## 3. Who may look at whom · 谁可以看谁
#
# A row is a token that looks, a column one that is looked at; blue is allowed. Behind the end of a sentence there is only padding; a decoder must not see what it is to say; a window makes the work grow with T instead of T². What is not allowed gets weight 0 exactly, and no gradient.
#
# 每行是一个在看的词元，每列是一个被看的词元；蓝色表示允许。句子结束之后只有填充；解码器不能看到它将要说的话；窗口使计算量随 T 而不是 T² 增长。不允许的位置权重恰好为 0，也没有梯度。

# %%
masks = {
    "padding: 7 of 10 are real": padding_mask(torch.tensor([7]), 10)[0, 0].expand(10, 10),
    "causal": causal_mask(10, 10),
    "causal, 3 new tokens": causal_mask(3, 10),
    "window of 3": window_mask(10, 10, 3),
    "causal and window of 3": causal_mask(10, 10) & window_mask(10, 10, 3),
}
figure, axes = plt.subplots(1, len(masks), figsize=(13, 2.7), layout="constrained")
for ax, (title, mask) in zip(axes, masks.items(), strict=True):
    ax.imshow(mask, cmap="Blues", vmin=0, vmax=1.4)
    ax.hlines(np.arange(-0.5, len(mask)), -0.5, 9.5, color="white")
    ax.vlines(np.arange(-0.5, 10), -0.5, len(mask) - 0.5, color="white")
    ax.set(xticks=(), yticks=(), title=title, xlabel=f"{int(mask.sum())} scores")
plt.show()

# %% [markdown]
# ## 4. Where a token stands · 词元站在哪里
#
# Without an answer, attention sees a bag of words. **Sinusoids** are added to the embedding: each pair of columns is a clock of another speed (1), and the product of the patterns of two positions depends on how far they are apart only (2). **Rotary** positions turn query and key instead: the same two vectors, placed elsewhere, have a product that depends on the distance only (3). **ALiBi** turns nothing: each head subtracts so much per step of distance, and each head another amount (4).
#
# 没有位置信息时，注意力看到的是一袋词。**正弦位置**加在嵌入上：每对列是一座快慢不同的钟（1），两个位置的图案的点积只取决于它们的距离（2）。**旋转位置**转动查询和键：同样两个向量放到不同的地方，点积只取决于距离（3）。**ALiBi** 什么也不转：每个头按距离每步减去一个量，每个头减得不同（4）。

# %%
torch.manual_seed(1)
length, width, away = 64, 64, range(-63, 1)
waves = POSITIONS["sinusoidal"](width, 4, length).waves
figure, axes = plt.subplots(1, 4, figsize=(15, 3.2), layout="constrained")
axes[0].imshow(waves, cmap="RdBu_r", vmin=-1, vmax=1, aspect="auto")
axes[0].set(title="(1) sinusoids", xlabel="number of the embedding", ylabel="position")
for place, colour in ((8, BLUE), (32, ORANGE), (56, GREEN)):
    axes[1].plot(waves @ waves[place], color=colour, label=f"position {place}")
axes[1].set(title="(2) pattern · pattern of …", xlabel="position", ylim=(None, 48))
rotary, query = POSITIONS["rotary"](width, 1, 2 * length), torch.randn(1, 1, 1, width)
key = (query + 0.3 * torch.randn(width)).expand(-1, -1, length, -1)
for start, line, colour in ((0, "-", BLUE), (40, ":", "black")):
    product = rotary.rotate(query, start + length - 1) @ rotary.rotate(key, start).mT / width  # (1, 1, 1, T)
    axes[2].plot(away, product.flatten(), line, color=colour, label=f"query at {start + length - 1}")
axes[2].set(title="(3) rotary: query · key", xlabel="place of the key, seen from the query")
bias = POSITIONS["alibi"](width, 4, length).bias(1, length)
for head, colour in enumerate((BLUE, ORANGE, GREEN, PURPLE)):
    axes[3].plot(away, bias[head, 0], color=colour, label=f"head {head + 1}")
axes[3].set(title="(4) ALiBi: added to the score", xlabel="place of the key, seen from the query")
for ax in axes[1:]:
    ax.legend()
plt.show()

# %% [markdown]
# ## 5. Where the norm stands · 归一化放在哪里
#
# Networks just made, and the gradient in the very first step: left of each of sixteen layers, right of the last layer, by the number of layers. In the paper's order (post) every norm brings what flows along back to the same size, and the last layer gets about as large a gradient in any depth. With the norm inside the residual (pre) the flow grows from layer to layer, and the norm at the end divides by its size: the deeper the network, the smaller the gradient, and the more careful the step (Xiong et al. 2020, theorem 1). A step that suits the one is too large for the other; that is what a warm-up is for.
#
# 刚刚建好的网络，第一步的梯度：左图是十六层中的每一层，右图是最后一层随层数的变化。按论文原来的顺序（post），每个归一化都把流过的数恢复到同样大小，不管网络多深，最后一层得到的梯度都差不多大。把归一化放进残差里面（pre），流过的数逐层变大，末尾的归一化再除以它的大小：网络越深，梯度越小，步子也就越谨慎（Xiong 等，2020，定理 1）。适合一种的步长对另一种就太大了；预热就是为此而设。


# %%
def gradients(order: str, layers: int, seed: int) -> list[float]:
    """The size of the gradient of W₂ in each layer, at the start."""
    torch.manual_seed(seed)
    config = TransformerLMConfig(vocab_size=100, model=64, heads=4, layers=layers, hidden=256, order=order)
    model, tokens = TransformerLM(config), torch.randint(100, (8, 33))
    cross_entropy(model(tokens[:, :-1])[0].flatten(0, 1), tokens[:, 1:].flatten()).backward()
    return [layer.feed_forward.outward.weight.grad.norm().item() for layer in model.stack.layers]


DEPTHS = (1, 2, 4, 8, 16, 32)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 2.8))
for order, colour in (("post", ORANGE), ("pre", BLUE)):
    sizes = {depth: np.mean([gradients(order, depth, seed) for seed in range(3)], axis=0) for depth in DEPTHS}
    left.plot(range(1, 17), sizes[16], "o-", color=colour)
    right.plot(DEPTHS, [sizes[depth][-1] for depth in DEPTHS], "o-", color=colour, label=f"{order}-norm")
left.set(xlabel="layer of 16", ylim=(0, None), xticks=(1, 4, 8, 12, 16), title="gradient of W₂, mean of 3 networks")
right.set(xlabel="number of layers", ylim=(0, None), title="of the last layer", xticks=DEPTHS)
right.legend()
plt.show()

# %% [markdown]
# ## 6. A translator in half a minute · 半分钟训练一个翻译模型
#
# Two layers on each side, four heads in each layer. `python train.py` does the same for longer, saves it, and can be resumed.
#
# 两侧各两层，每层四个头。`python train.py` 做的是同样的事，时间更长，会保存，也可以续训。

# %%
corpus = load_pairs("numbers_en_fr")
tokenizer = train_tokenizer(corpus.train, 500)
batches = PairBatches(tokenizer, corpus.train, max_length=60, batch_size=32, seed=0)
torch.manual_seed(0)
config = TransformerConfig(vocab_size=tokenizer.vocab_size, model=64, heads=4, layers=2, hidden=256)
translator, STEPS, EVERY = Translator(Transformer(config), tokenizer, facts={}), 800, 100
optimizer = torch.optim.AdamW(translator.model.parameters(), lr=0.003, betas=(0.9, 0.98))
options = {"max_steps": STEPS, "schedule": SCHEDULES["cosine"](STEPS, STEPS // 20), "clip": 1.0}
exact, started = {}, time.process_time()
for step in train_steps(translator.model, batches, TranslationLoss(label_smoothing=0.1), optimizer, **options):
    if step.index % EVERY == EVERY - 1:
        exact[step.index + 1] = 100 * translator.scores(corpus.validation[:200])["exact"]
print(f"{exact[STEPS]:.1f} % exactly right after {time.process_time() - started:.0f} s of one processor\n")
for pair in corpus.test[:4]:
    print(f"{pair.source}\n→ {translator.translate([pair.source])[0].text}\n")
figure, ax = plt.subplots(figsize=(7, 2.6))
ax.plot(exact.keys(), exact.values(), "o-", color=BLUE)
ax.set(title="held-out sentences exactly right", xlabel="step", ylabel="%", ylim=(-3, 103))
plt.show()

# %% [markdown]
# ## 7. Every layer, every head · 每一层，每一个头
#
# Three kinds of looking, two layers, four heads. Each row of a map is a word that looks, each column one that is looked at; the darker, the more. In the encoder all may look at all. In the decoder nobody looks ahead: above the diagonal all is white. Between the two, some head has found the word that is to be said next, though nobody ever told which word belongs to which. Other heads do something that has no name.
#
# 三种看法，两层，四个头。图中每一行是一个在看的词，每一列是一个被看的词；颜色越深看得越多。编码器里谁都可以看谁。解码器里谁也不能往后看：对角线以上全是白的。在两者之间，有的头找到了接下来该说的那个词，虽然从来没有人告诉它哪个词对应哪个词。别的头所做的事，没有名字。

# %%
pair = next(pair for pair in corpus.validation if pair.source.startswith("March"))
(answer,) = translator.translate([pair.source])
with tempfile.TemporaryDirectory() as folder:
    picture = Path(folder, "heads.png")
    heatmaps.grid(blocks(translator, pair.source, answer.tokens), picture, title=f"{pair.source} → {answer.text}")
    display(Image(picture.read_bytes()))

# %% [markdown]
# ## 8. What was read need not be read again · 读过的不必再读
#
# Keys and values of a token never change once it is written: no later one can be seen from it. So they are kept, and each new token costs one token. Without the cache all of them go through the network again and again. Both say the same, up to the last digits.
#
# 一个词元写下之后，它的键和值就不再变化：它看不到任何后来的词元。所以把它们存起来，每个新词元只需要一个词元的计算。没有缓存，就要把所有词元一遍又一遍地送过网络。两者说的一样，只差最后几位小数。


# %%
@torch.inference_mode()
def write(cached: bool, count: int = 250) -> tuple[torch.Tensor, np.ndarray]:
    """The logits of so many tokens, whatever they say, and the milliseconds of each."""
    source, written = torch.tensor(encode_sources(tokenizer, [pair.source])), torch.tensor([[BOS]])
    state = translator.model.encode(source, torch.tensor([source.shape[1]]))
    logits, clock = [], [time.process_time()]
    for _ in range(count):
        now, after = translator.model.step(written[:, -1:] if cached else written, state)
        state = after if cached else state  # in it: keys and values of what was written
        written, logits = torch.cat([written, now.argmax(dim=1, keepdim=True)], dim=1), [*logits, now]
        clock.append(time.process_time())
    return torch.cat(logits), 1000 * np.diff(clock)


translator.model.eval()
turns = {cached: [write(cached) for _ in range(3)] for cached in (False, True)}
print(f"largest difference of a logit: {(turns[True][0][0] - turns[False][0][0]).abs().max():.0e}")
figure, ax = plt.subplots(figsize=(7, 2.6))
for cached, label, colour in ((False, "all tokens again", ORANGE), (True, "keys and values kept", BLUE)):
    ax.plot(np.min([taken for _, taken in turns[cached]], axis=0), color=colour, label=label)
ax.set(xlabel="tokens already written", ylabel="ms", ylim=(0, None), title="time for the next token, best of 3 turns")
ax.legend()
plt.show()

# %% [markdown]
# ## Questions · 问题
#
# 1. In section 1, multiply all queries by 10. What becomes of the weights, and which of the three words changes least? Why?
# 2. In section 3, how many scores does a causal window of w leave of T² ? At which T is that a tenth, for w = 128?
# 3. GPT-2 divides the starting weights of W₂ and of attention's `outward` by √(2L). Do the same in section 5. What becomes of the blue curves, and why?
# 4. In section 6, set `positions="none"` in the config. Which sentences does the translator still get right?
# 5. In section 7, set one head's part of `outward.weight` to zero. Which head is missed most?
#
# 1. 在第 1 节把所有查询乘以 10。权重会怎样？三个词中哪个变化最小？为什么？
# 2. 在第 3 节，宽度为 w 的因果窗口在 T² 个得分中留下多少？w = 128 时，T 多大时只剩十分之一？
# 3. GPT-2 把 W₂ 和注意力的 `outward` 的初始权重除以 √(2L)。在第 5 节也这样做。蓝色曲线会怎样？为什么？
# 4. 在第 6 节的配置里加上 `positions="none"`。翻译模型还能译对哪些句子？
# 5. 在第 7 节把某个头在 `outward.weight` 中的那一部分设为零。缺了哪个头影响最大？

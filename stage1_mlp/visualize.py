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
# # Stage 1 in pictures · 第 1 阶段图解
#
# Run the cells from top to bottom; change a number, run again. Everything here uses the code of this folder. No network is needed.
#
# 从上到下运行各单元；改一个数，再运行。这里用的全是本文件夹的代码，不需要网络。

# %%
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from IPython.display import Image, display

from my_llm.data import catalog
from my_llm.training import Loss, train_steps
from stage1_mlp.classify import Classifier, classification_loss, encode, fit_features, logits_of, scores
from stage1_mlp.data import TextBatches
from stage1_mlp.models import (
    ACTIVATIONS,
    MLP,
    OPTIMIZERS,
    AdamW,
    MLPConfig,
    Perceptron,
    TextClassifier,
    TextClassifierConfig,
    Value,
    cross_entropy,
    draw,
)

plt.rcParams |= {"figure.dpi": 80, "axes.spines.top": False, "axes.spines.right": False}
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"

# %% [markdown]
# ## 1. The perceptron draws one line · 感知机只画一条直线
#
# Three tasks with two inputs. The rule changes the weights after each mistake. AND and OR end without a mistake; for XOR no line exists, and the
# rule never comes to rest.
#
# 三个两输入的任务。规则在每次出错后修改权重。AND 与 OR 最终不再出错；XOR 没有这样的直线，规则永远停不下来。

# %%
corners = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=float)
figure, axes = plt.subplots(1, 3, figsize=(9, 3))
for ax, (name, truth) in zip(axes, {"AND": [0, 0, 0, 1], "OR": [0, 1, 1, 1], "XOR": [0, 1, 1, 0]}.items()):
    neuron = Perceptron(inputs=2)
    mistakes = neuron.fit(corners, np.array(truth), epochs=50)
    x = np.linspace(-0.4, 1.4, 2)
    if abs(neuron.weights[1]) > 0:
        ax.plot(x, -(neuron.bias + neuron.weights[0] * x) / neuron.weights[1], color="gray")
    ax.scatter(*corners.T, c=[ORANGE if t else BLUE for t in truth], s=120, zorder=3)
    ax.set(title=f"{name}: {mistakes[-1]} mistakes in epoch {len(mistakes)}", xlim=(-0.4, 1.4), ylim=(-0.4, 1.4))
plt.show()

# %% [markdown]
# ## 2. A machine that derives · 会求导的机器
#
# Each box is a number and its gradient: how much the result would change if this number grew a little.
#
# 每个方框是一个数和它的梯度：这个数增大一点，结果会改变多少。

# %%
x, w, b = Value(2.0, label="x"), Value(-0.5, label="w"), Value(1.5, label="b")
y = (w * x + b).tanh()
y.backward()
picture = Path(tempfile.mkdtemp()) / "graph.png"
draw(y, picture)
display(Image(picture))

# %% [markdown]
# ## 3. Bends and their slopes · 激活函数与它们的斜率
#
# The slope is what back-propagation multiplies by. Where it is 0, nothing is learnt.
#
# 反向传播乘的就是斜率。斜率为 0 的地方什么也学不到。

# %%
z = torch.linspace(-4, 4, 400, requires_grad=True)
figure, axes = plt.subplots(1, 2, figsize=(9, 3.2))
for name, activation in ACTIVATIONS.items():
    value = activation(z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    axes[0].plot(z.detach(), value.detach(), label=name)
    axes[1].plot(z.detach(), slope, label=name)
axes[0].set(title="value", ylim=(-1.2, 3))
axes[1].set(title="slope", ylim=(-0.2, 1.3))
axes[0].legend(frameon=False)
plt.show()

# %% [markdown]
# ## 4. Hidden units bend the plane · 隐藏单元把平面弯折
#
# Two half moons cannot be parted by a line. Watch what 2, 8 and 32 hidden units make of them.
#
# 两个半月无法用一条直线分开。看看 2、8、32 个隐藏单元各能做到什么。

# %%
generator = torch.Generator().manual_seed(0)
angle = torch.rand(400, generator=generator) * np.pi
side = torch.arange(400) % 2
moons = torch.stack([angle.cos() * (1 - 2 * side) + side, angle.sin() * (1 - 2 * side) + 0.3 * side], dim=1)
moons += 0.12 * torch.randn(400, 2, generator=generator)
grid = torch.stack(torch.meshgrid(torch.linspace(-1.6, 2.6, 120), torch.linspace(-1.3, 1.5, 120), indexing="xy"), -1)


def fit(model: torch.nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    """Train on the moons; the loss of each step."""

    def loss_fn(model: torch.nn.Module, batch: tuple) -> Loss:
        return Loss(cross_entropy(model(batch[0]), batch[1]).sum(), len(batch[1]))

    return [step.loss for step in train_steps(model, lambda i: (moons, side), loss_fn, optimizer, max_steps=steps)]


figure, axes = plt.subplots(1, 3, figsize=(10, 3))
for ax, units in zip(axes, (2, 8, 32)):
    torch.manual_seed(0)
    model = MLP(MLPConfig(2, (units,), 2))
    losses = fit(model, AdamW(model.parameters(), lr=0.02), 300)
    with torch.no_grad():
        belief = model(grid.reshape(-1, 2)).softmax(1)[:, 1].reshape(120, 120)
    ax.contourf(grid[..., 0], grid[..., 1], belief, levels=12, cmap="RdBu_r", alpha=0.6)
    ax.scatter(*moons.T, c=[ORANGE if s else BLUE for s in side], s=6)
    ax.set(title=f"{units} hidden units: loss {losses[-1]:.3f}", xticks=[], yticks=[])
plt.show()

# %% [markdown]
# ## 5. The same road, seven ways of walking · 同一条路，七种走法
#
# All optimisers start at the same weights, each with its usual learning rate.
#
# 所有优化器从同样的权重出发，各用自己常用的学习率。

# %%
usual = {"sgd": 0.3, "momentum": 0.05, "nesterov": 0.05, "rmsprop": 0.005, "adagrad": 0.05, "adam": 0.01, "adamw": 0.01}
for name, lr in usual.items():
    torch.manual_seed(0)
    model = MLP(MLPConfig(2, (16,), 2))
    plt.plot(fit(model, OPTIMIZERS[name](model.parameters(), lr=lr), 200), label=f"{name} {lr}")
plt.legend(frameon=False)
plt.gca().set(xlabel="step", ylabel="loss, nats", yscale="log")
plt.show()

# %% [markdown]
# ## 6. A text becomes an input of fixed size · 文本变成大小固定的输入
#
# The corpus is the documentation inside your own Python: from a docstring, guess its area. These are the features of one text, heaviest first.
#
# 语料是你自己的 Python 里的文档：根据文档字符串猜它属于哪个领域。下面是一个文本的特征，权重最大的在前。

# %%
corpus = catalog.load("python_docs")
features = fit_features(corpus.train, max_features=20_000)
example = next(e.text for e in corpus.train if 80 < len(e.text) < 200)
bag, names = features.encode([example]), features.names()
print(" ".join(example.split()), "\n")
for place in bag.weights.argsort(descending=True)[:10]:
    print(f"{bag.weights[place]:.2f}  {names[bag.ids[place]]}")

# %% [markdown]
# ## 7. Train, and look inside · 训练，再看里面
#
# A few epochs. Then the embeddings of the most frequent words, in two dimensions: words that speak for the same class have moved together.
#
# 训练几轮。然后看最常见的词的嵌入（embedding）在二维里的样子：支持同一类别的词走到了一起。

# %%
torch.manual_seed(0)
model = TextClassifier(TextClassifierConfig(len(features), len(corpus.labels)))
batches = TextBatches(*encode(features, corpus.train), batch_size=64, seed=0)
validation, truth = encode(features, corpus.validation)
losses, accuracies = [], []
for step in train_steps(model, batches, classification_loss, AdamW(model.parameters(), lr=0.005), max_steps=300):
    losses.append(step.loss)
    if step.index % 25 == 24:
        accuracies.append((step.index, scores(logits_of(model, validation), truth, "validation")["accuracy"]))
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
axes[0].plot(losses, color=BLUE)
axes[0].set(xlabel="step", title="training loss, nats")
axes[1].plot(*zip(*accuracies), color=GREEN)
axes[1].set(xlabel="step", title="accuracy on validation texts")
plt.show()

# %%
classifier = Classifier(model, features, corpus.labels, {})
for label, words in classifier.evidence(6).items():
    print(f"{label:<12} {', '.join(word for word, _ in words)}")

table = model.table.detach()[:3000]
table = table - table.mean(dim=0)
_, _, axes_of_table = torch.linalg.svd(table, full_matrices=False)
flat = table @ axes_of_table[:2].T
voice = {word: c for c, (_, words) in enumerate(classifier.evidence(60).items()) for word, _ in words}
plt.figure(figsize=(9, 5))
for place, name in enumerate(names[:3000]):
    if name in voice and " " not in name:
        plt.text(*flat[place].tolist(), name, fontsize=7, color=plt.cm.tab10(voice[name]), ha="center")
plt.gca().set(
    xlim=(flat[:, 0].min(), flat[:, 0].max()), ylim=(flat[:, 1].min(), flat[:, 1].max()), xticks=[], yticks=[]
)
plt.show()

# %% [markdown]
# What you saw is the whole of stage 1. What none of these pictures contains is order: shuffle the words, and every one of them stays the same. That
# is the door to stage 2.
#
# 以上就是第 1 阶段的全部。这些图里都没有"顺序"：把词打乱，每张图都不变。这就是通往第 2 阶段的门。

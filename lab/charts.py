"""Charts for the report, drawn as inline SVG and HTML: no image file, no library, colours from the page's style.

The SVG holds shapes only and is stretched to whatever room there is; numbers and names are HTML around it, so they keep
their size on a telephone.
"""

import math
from collections.abc import Sequence

from lab.page import both, data, escaped

Number = int | float
Points = Sequence[tuple[Number, Number]]
LETTER = 0.48  # width of a letter beside a map, where a cell is 1 wide


def line_chart(title: str, series: Sequence[tuple[str, Points]], *, x_name: str, percent: bool = False) -> str:
    """Curves over the same x.

    Args:
        title: What y is, ready for the page (`both(…)`).
        series: (name ready for the page, points); the first two have colours of their own.
        x_name: What x is, ready for the page.
        percent: y is a fraction and is shown as per cent.
    """
    values = [y for _, points in series for _, y in points if math.isfinite(y)]
    y_ticks = ticks(min(values), max(values))
    right = max(x for _, points in series for x, _ in points) or 1.0
    x_ticks = [x for x in ticks(0, right) if x <= right]
    low, high = y_ticks[0], y_ticks[-1]

    def up(y: Number) -> float:
        return 100 * (high - y) / (high - low)

    grid = "".join(f'<path class="grid" d="M0 {up(y):.2f}H100"/>' for y in y_ticks)
    curves = "".join(
        f'<path class="curve c{i}" d="{path([(100 * x / right, up(y)) for x, y in points])}"/>'
        for i, (_, points) in enumerate(series)
    )
    across = "".join(f'<span class="x" style="left:{100 * x / right:.2f}%">{x:,.0f}</span>' for x in x_ticks)
    aside = "".join(f'<span class="y" style="top:{up(y):.2f}%">{label(y, percent)}</span>' for y in y_ticks)
    keys = "".join(
        f'<li><i class="key c{i}"></i>{name} <b>{label(points[-1][1], percent, exact=True)}</b></li>'
        for i, (name, points) in enumerate(series)
    )
    return (
        f'<figure class="chart"><figcaption>{title}<ul class="keys">{keys}</ul></figcaption><div class="plot">{aside}'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{grid}{curves}</svg>{across}</div>'
        f'<div class="x-name">{x_name}</div></figure>'
    )


def path(points: Points) -> str:
    """The d of an SVG path; a value that is not finite interrupts the line."""
    pieces, pen = [], "M"
    for x, y in points:
        if math.isfinite(y):
            pieces.append(f"{pen}{x:.2f} {y:.2f}")
        pen = "L" if math.isfinite(y) else "M"
    return "".join(pieces)


def ticks(low: Number, high: Number, count: int = 4) -> list[float]:
    """About `count` round numbers that enclose low … high."""
    span = (high - low) or abs(high) or 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    step = next(step for step in (1, 2, 2.5, 5, 10) if step * power * count >= span) * power
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def label(value: Number, percent: bool, exact: bool = False) -> str:
    """A number on an axis; `exact` for the last value of a curve."""
    if percent:
        return f"{100 * value:.1f}&nbsp;%" if exact else f"{100 * value:g}&nbsp;%"
    return f"{value:.3f}" if exact else f"{value:g}"


def confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """A confusion matrix as a table: rows are the truth, columns the answer, the colour is the share of the row."""
    head = "".join(f'<th scope="col"><div>{data(name)}</div></th>' for name in labels)
    lines = [f"<tr><td></td>{head}</tr>"]
    for i, counts in enumerate(matrix):
        total = sum(counts) or 1
        cells = "".join(
            f'<td class="{"right" if i == j else "wrong"}{" dark" if n / total > 0.5 else ""}"'
            f' style="--share:{n / total:.3f}">{n or "·"}</td>'
            for j, n in enumerate(counts)
        )
        lines.append(f'<tr><th scope="row">{data(labels[i])}</th>{cells}</tr>')
    corner = both("rows: what it is · columns: what the network says", "行：实际类别 · 列：网络的回答")
    return f'<div class="scroll"><table class="confusion">{"".join(lines)}</table></div><p class="note">{corner}</p>'


def bars(pairs: Sequence[tuple[str, Number]]) -> str:
    """Names on bars, in the given order."""
    most = max((abs(value) for _, value in pairs), default=1.0) or 1.0
    items = (
        f'<li><i style="width:{max(100 * value / most, 0):.1f}%"></i>{data(name)}<b>{value:.2f}</b></li>'
        for name, value in pairs
    )
    return f'<ol class="bars">{"".join(items)}</ol>'


def maps(weights: Sequence[Sequence[Sequence[Sequence[Number]]]], rows: Sequence[str], columns: Sequence[str]) -> str:
    """Attention maps side by side: a row of maps for each layer, a column for each head; both are numbered.

    Args:
        weights: Of L layers and H heads, T rows and S columns each.
        rows: T words, written at the left.
        columns: S words, written below the last layer.
    """
    wide, high, heads = len(columns) + 1, len(rows) + 1, len(weights[0])  # of a map, with the gap after it
    left, below = (LETTER * max(map(len, words), default=0) + 1 for words in (rows, columns))
    shapes = []
    for layer, of_layer in enumerate(weights):
        shapes.append(f'<text x="{heads * wide}" y="{layer * high + high / 2:g}">{layer + 1}</text>')
        shapes += [f'<text class="data end" x="-.4" y="{layer * high + i + 0.8:g}">{escaped(word)}</text>'
                   for i, word in enumerate(rows)]  # fmt: skip
        for head, of_head in enumerate(of_layer):
            shapes.append(f'<path class="frame" d="M{head * wide} {layer * high}h{wide - 1}v{high - 1}h{1 - wide}z"/>')
            shapes += [
                f'<path d="M{head * wide + j} {layer * high + i}h1v1h-1z" opacity="{weight:.2f}"/>'
                for i, row in enumerate(of_head)
                for j, weight in enumerate(row)
                if weight >= 0.02
            ]
    bottom = len(weights) * high
    for head in range(heads):
        shapes.append(f'<text x="{head * wide + (wide - 1) / 2:g}" y="-.4">{head + 1}</text>')
        for j, word in enumerate(columns):
            turned = f"translate({head * wide + j + 0.8:g} {bottom - 0.6:g})rotate(-90)"
            shapes.append(f'<text class="data end" transform="{turned}">{escaped(word)}</text>')
    box = f"{-left:g} -1.5 {left + heads * wide + 1:g} {bottom + below:g}"
    return f'<div class="scroll"><svg class="maps" viewBox="{box}" translate="no">{"".join(shapes)}</svg></div>'

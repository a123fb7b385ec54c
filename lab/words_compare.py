"""Column keys and cells of `my-llm compare` in Chinese; words.py and values.py take them in."""

COLUMNS = {
    "equal_parameters": "参数相等",
    "equal_tokens": "文本相等",
    "equal_seconds": "时间相等",
    "theory": "理论",
    "exponent": "拟合指数",
    "count": "2,048 个词元时的计数",
    "order": "顺序",
    "reach": "多远之内会",
    "recall_16": "距离 9 至 16",
    "recall_126": "距离 65 至 126",
    "pairs": "查找",
    "by_trial": "靠试找到",
    "by_weights": "靠权重找到",
    "tera_operations": "运算（万亿）",
    "times_read": "读几遍",
}
MODELS = {
    "n-gram": "n 元模型", "MLP": "MLP", "RNN": "RNN", "LSTM": "LSTM", "GRU": "GRU", "attention alone": "只有注意力",
    "Transformer": "Transformer", "GPT": "GPT", "GPT, modern": "GPT，现代",
    "GPT, large embeddings": "GPT，嵌入较大",
}  # fmt: skip
TIMES = {"1m": "1 分钟", "10m": "10 分钟", "1h": "1 小时"}
RACES = {"parameters": "参数相等", "tokens": "文本相等", "seconds": "时间相等"}
COUNTS = {"operations": "运算", "waiting": "相继的调用", "path": "路径", "memory": "内存（字节）"}
READERS = {
    "MLP, a window of 16": "MLP，16 的窗口",
    "RNN": "RNN",
    "LSTM": "LSTM",
    "WaveNet": "WaveNet",
    "attention": "注意力",
}
CASES = {
    **{f"stage{n}, {time}": f"第 {n} 阶段，{word}" for n in range(1, 6) for time, word in TIMES.items()},
    **MODELS,
    "the text itself": "文本本身",
    **{f"{race}: {name}": f"{told}：{word}" for race, told in RACES.items() for name, word in MODELS.items()},
    **{f"{what}: {name}": f"{told}：{word}" for what, told in COUNTS.items() for name, word in READERS.items()},
}

"""The words of the tables in Chinese: column keys, units, tasks. A word that is missing here is an error, not English.

The words in the cells, among which are names, stand in values.py.

English needs no dictionary: a column key is its own heading, with spaces for its underscores.
"""

from lab.values import VALUES
from my_llm.errors import ConfigError

CHINESE: dict[str, str] = {
    # headings of every table
    "case": "情形",
    "stage": "阶段",
    "model": "模型",
    "task": "任务",
    "data": "数据",
    "metric": "指标",
    "score": "得分",
    "training": "训练用时",
    "latency": "单条延迟",
    "latency_alone": "单独一条的延迟",
    "published": "已发表的成绩",
    "n": "样本数",
    # the footnote
    "seed": "种子",
    "seeds": "种子",
    "splits": "划分数",
    "cores": "核",
    "made by rule": "由规则生成",
    # tasks and metrics
    "text classification": "文本分类",
    "text generation": "文本生成",
    "language modelling": "语言建模",
    "translation": "机器翻译",
    "accuracy": "准确率",
    "test_accuracy": "测试准确率",
    "train_accuracy": "训练准确率",
    "validation_accuracy": "验证准确率",
    "macro_f1": "宏平均 F1",
    "f1": "F1",
    "precision": "精确率",
    "recall": "召回率",
    "loss": "损失",
    "test_loss": "测试损失",
    "train_loss": "训练损失",
    "training_loss": "训练损失",
    "validation_loss": "验证损失",
    "perplexity": "困惑度",
    "bleu": "BLEU",
    "bits_per_byte": "每字节比特数",
    # what a run costs
    "seconds": "用时",
    "train": "训练",
    "step": "每步",
    "text": "每条文本",
    "ratio": "倍数",
    "times_official": "相对官方实现",
    "rate": "速率",
    "batch": "批量",
    "single": "单条",
    "parameters": "参数量",
    "steps": "步数",
    "epochs": "轮数",
    "best_epoch": "最佳轮次",
    "best_step": "最佳步数",
    "lr": "学习率",
    "trials": "试验次数",
    "passed": "通过",
    "failed": "失败",
    # what studies vary and see
    "learning_rate": "学习率",
    "good_from": "可用学习率下限",
    "good_to": "可用学习率上限",
    "at_0.03": "学习率 0.03 时",
    "at_0.1": "学习率 0.1 时",
    "at_1_4": "第 1–4 个词",
    "at_5_8": "第 5–8 个词",
    "at_9_16": "第 9–16 个词",
    "hidden_layers": "隐藏层数",
    "width": "宽度",
    "context": "上文长度",
    "weights": "权重数",
    "outputs": "输出",
    "measure": "度量",
    "guess": "猜测的得分",
    "gap": "泛化差距",
    "dead_before": "训练前死亡单元",
    "dead_after": "训练后死亡单元",
    "signal": "信号放大",
    "gradient": "梯度",
    "genetic": "遗传算法",
    "overtaken_after": "被梯度法超过时的评估次数",
    "update_ratio": "更新比",
    "mean_confidence": "平均置信度",
    "calibration_error": "校准误差",
    "mistakes": "错误数",
    "solved": "解出的比例",
    "as_written": "原词序",
    "shuffled": "打乱词序",
    "supervised": "监督",
    "semi_supervised": "半监督",
    "self_supervised": "自监督",
    "reinforcement": "强化学习",
    "per_text": "每条文本",
    "cpu": "CPU 用时",
    "features": "特征数",
    "change": "变化",
    "chance": "偶然误差",
    # stage 2
    **{f"lag_{lag}": f"往回 {lag} 步" for lag in (1, 10, 30, 100)},
    **{f"characters_{length}": f"{length} 个字符" for length in (5, 10, 20, 40, 60)},
    **{f"whole_{length}": f"整段 {length} 个" for length in (5, 10, 20)},
    "largest_norm": "最大梯度范数",
    "distance": "距离",
    "length": "长度",
    "error": "误差",
    "forget": "遗忘门",
    "characters": "所占比例",
    "memory": "记忆时长",
    "cell": "最佳细胞",
    "cell_new": "未训练的细胞",
    "cell_chance": "错误的信号",
    "probe": "全部细胞",
    "probe_new": "未训练的全部细胞",
    "nats": "验证损失",
    "windows": "按窗口读的损失",
    "numbers": "所存的数",
    "per_second": "每秒",
    "greedy_per_second": "贪心，每秒句数",
    "beam_per_second": "束搜索，每秒句数",
    "judge_first": "裁判：开头",
    "judge_last": "裁判：末尾",
    "words": "已知的词",
    "shift_last": "末尾的状态偏移",
    "one_thread": "一个线程",
    "two_threads": "两个线程",
    "speed_up": "加速",
    "rate_two": "两个线程的速率",
    "turned": "被否定词扭转",
    "unit": "单位",
    "tagging": "序列标注",
    "loss per character": "每字符损失",
    "perplexity per word or mark": "每词或标点困惑度",
    "entity F1": "实体 F1",
    "memory_mib": "内存",
    "speed_of_official": "相对官方的速度",
    "characters_per_second": "每秒字符数",
    # stage 3
    "BLEU": "BLEU",
    "exact": "完全译对",
    "chrf": "chrF",
    "bleu_one_reference": "只用一个参考的 BLEU",
    "greedy": "贪心",
    "beam": "束搜索",
    "entropy": "权重的熵",
    "largest": "最大权重",
    "agrees": "一致率",
    "right": "译对的表达",
    "first": "排在最前的",
    "last": "排在最后的",
    "lists": "串数",
    "vector": "一个向量",
    "wide_vector": "两倍宽的向量",
    "attention": "注意力",
    "vector_bleu": "一个向量 BLEU",
    "wide_vector_bleu": "两倍宽的向量 BLEU",
    "attention_bleu": "注意力 BLEU",
    "length_ratio": "长度比",
    "surprise": "意外程度",
    "different": "不同的译文",
    "says": "第一个译文",
}
UNITS: dict[str, str] = {
    "": "",
    "%": "%",
    "s": "秒",
    "ms": "毫秒",
    "µs": "微秒",
    "nats": "奈特",
    "GFLOP/s": "GFLOP/s",
    "GB/s": "GB/s",
    "MiB": "MiB",
    "×": "倍",
    "words": "词",
    "points": "百分点",
    "steps": "步",
    "characters": "字符",
    "sd": "标准差",
    "1/s": "1/秒",
    "sentences": "句",
}


def word(key: str, chinese: bool) -> str:
    """A key as the reader sees it.

    Raises:
        ConfigError: No Chinese word for it.
    """
    return _translated(key, CHINESE, "word") if chinese else key.replace("_", " ")


def value_word(value: str, chinese: bool) -> str:
    """A word in a cell as the reader sees it."""
    return VALUES.get(value, value) if chinese else value


def unit_word(unit: str, chinese: bool) -> str:
    """A unit as the reader sees it."""
    return _translated(unit, UNITS, "unit") if chinese else unit


def _translated(key: str, table: dict[str, str], what: str) -> str:
    if key not in table:
        raise ConfigError(f"no Chinese {what}", got=key, next_step="add it to lab/words.py")
    return table[key]

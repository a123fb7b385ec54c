"""The words of the tables in Chinese: column keys, units, tasks. A word that is missing here is an error, not English.

English needs no dictionary: a column key is its own heading, with spaces for its underscores.
"""

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
    "published": "已发表的成绩",
    "n": "样本数",
    # the footnote
    "seed": "种子",
    "seeds": "种子",
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
    "activation": "激活函数",
    "optimizer": "优化器",
    "schedule": "学习率调度",
    "initialization": "初始化",
    "hidden": "隐藏单元",
    "width": "宽度",
    "depth": "深度",
    "layers": "层数",
    "gap": "泛化差距",
    "dead": "死亡单元",
    "dead_units": "死亡单元",
    "saturated": "饱和单元",
    "gradient": "梯度",
    "update_ratio": "更新比",
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
}


def word(key: str, chinese: bool) -> str:
    """A key as the reader sees it.

    Raises:
        ConfigError: No Chinese word for it.
    """
    return _translated(key, CHINESE, "word") if chinese else key.replace("_", " ")


def unit_word(unit: str, chinese: bool) -> str:
    """A unit as the reader sees it."""
    return _translated(unit, UNITS, "unit") if chinese else unit


def _translated(key: str, table: dict[str, str], what: str) -> str:
    if key not in table:
        raise ConfigError(f"no Chinese {what}", got=key, next_step="add it to lab/words.py")
    return table[key]

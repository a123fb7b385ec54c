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
}
VALUES: dict[str, str] = {  # words that stand in the cells; what has no row here is a name and stays as it is
    "every damaged file is refused in one line": "损坏的检查点被一行话拒绝",
    "the weapons are loaded": "恶意文件确实能执行代码（对照）",
    "no code in a vocabulary runs": "词表中的代码不被执行",
    "hostile files are refused": "恶意文件被拒绝",
    "every truncation is refused": "截断的词表被拒绝",
    "a killed training resumes to the same bits": "被杀死的训练恢复后逐比特相同",
    "nothing": "不加措施",
    "early_stopping": "早停",
    "all_data": "全部数据",
    "linear": "线性",
    "recipe": "配方",
    "plain_counts": "原始计数",
    "presence": "只看有无",
    "no_weight": "不加权",
    "one_scale": "不归一化长度",
    "words_alone": "只用词",
    "5000_features": "5,000 个特征",
    "all_plain": "全都不用",
    "with": "有",
    "without": "无",
    "naive_bayes": "朴素贝叶斯",
    "logistic_regression": "逻辑回归",
    "linear_svm": "线性 SVM",
    "decision_tree": "决策树",
    "mlp": "MLP",
    "regression": "回归",
    "classification": "分类",
    "generation": "生成",
    "structure": "结构预测",
    "squared error": "平方误差",
    "cross-entropy": "交叉熵",
    "words off": "相差的词数",
    "% of classes right": "分对类别的百分比",
    "% of tags right": "标对标签的百分比",
    "perplexity per character": "每字符困惑度",
    "classes": "类别数",
    "characters": "字符数",
    "3 per word": "每词 3 个",
    "lines": "直线",
    "cubics": "三次曲线",
    "MLPs": "MLP",
    "official torch.nn": "官方 torch.nn",
    "from scratch": "从零实现",
    "by hand, NumPy": "手写 NumPy",
    "product, fp32": "矩阵乘积 fp32",
    "product, bf16": "矩阵乘积 bf16",
    "text to label, batch": "文本到标签，批量",
    "text to label, single": "文本到标签，单条",
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

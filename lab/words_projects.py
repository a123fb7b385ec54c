"""Column keys of stage 5's projects and benches in Chinese; words.py takes them in."""

from lab.words_compare import CASES as COMPARED
from lab.words_compare import COLUMNS

PROJECTS: dict[str, str] = {
    **COLUMNS,
    "tokens_per_second": "每秒词元数",
    "speed_to_default": "相对默认路径",
    "share_of_bandwidth": "占读取带宽",
    "compiles": "是 Python",
    "names_known": "名字都有来处",
    "arguments_used": "用到全部参数",
    "defined": "能定义",
    "style": "风格",
    "lines_seen": "每行都见过",
    "solved_by_any": "任一答案解出",
    "tasks": "题数",
    "passes": "通过",
    "of_its_length": "长度合格",
    "rhymed": "押韵",
    "in_form": "合乎格律",
    "copied": "抄自原书",
    "unknown": "未知字符",
    **{f"level_{level}": f"第 {level} 级" for level in (1, 2, 3)},
    "all_levels": "全部",
    "reading": "先阅读",
    "tuning": "学习回答",
    "answer": "每个回答",
    "question_right": "问句：答对",
    "question_place": "问句：答的是地点",
    "sentence_right": "半句：补对",
    "sentence_place": "半句：补的是地点",
    **{f"accuracy_{count}": f"{count:,} 个标签的正确率" for count in (100, 1000)},
    "questions": "读题",
    "summaries": "标题",
    "keywords": "关键词",
    "translate": "翻译",
    "models": "模型数",
    "rouge_1": "ROUGE-1",
    "rouge_l": "ROUGE-L",
}

SIZES = {
    "nanoGPT's for a CPU": "nanoGPT 的 CPU 尺寸",
    "nanoGPT's for a GPU, batch 16": "nanoGPT 的 GPU 尺寸，批大小 16",
}
PEERS = {"transformers, fp32": "transformers，fp32",
         "transformers, fp32, torch's default path": "transformers，fp32，torch 默认路径"}  # fmt: skip
WRITERS = {"transformers": "transformers", "transformers, torch's default path": "transformers，torch 默认路径"}
WAYS = ("fp32", "bf16", "bf16, --compile")
CASES: dict[str, str] = {  # in the cells; values.py takes them in
    **COMPARED,
    "shakespeare, GPT": "shakespeare，GPT",
    "shakespeare, n-grams": "shakespeare，n 元模型",
    "shakespeare, the book": "shakespeare，原书",
    "three_kingdoms, GPT": "three_kingdoms，GPT",
    "three_kingdoms, n-grams": "three_kingdoms，n 元模型",
    "three_kingdoms, the book": "three_kingdoms，原书",
    "the library itself": "标准库本身",
    "its lines shuffled": "打乱它的各行",
    "n-grams, best of 8": "n 元模型，8 个中最好的",
    "GPT, the first": "GPT，第一个",
    "GPT, best of 8": "GPT，8 个中最好的",
    "couplet: Shakespeare's own line": "对句：莎士比亚自己的一行",
    "couplet: another line of his": "对句：他的另一行",
    "couplet: GPT, the first": "对句：GPT，第一行",
    "couplet: GPT, best of 8": "对句：GPT，8 行中最好的",
    "couplet: GPT, best of 32": "对句：GPT，32 行中最好的",
    "poem: the poems of the book": "诗：书里的诗",
    "poem: GPT of the novel": "诗：读过小说的 GPT",
    "poem: tuned on its poems": "诗：在诗上调优过的",
    "poem: tuned, form forced": "诗：调优过的，强制形式",
    "poem: form forced, best of 16": "诗：强制形式，16 首中最好的",
    "first words": "开头的词",
    "TF-IDF": "TF-IDF",
    "read the articles first": "先读文章",
    "a model for each": "各用一个模型",
    "one model, as long in all": "一个模型，总时间相同",
    "one model, a quarter of that": "一个模型，四分之一的时间",
    "topics: naive Bayes": "主题：朴素贝叶斯",
    "topics: from zero": "主题：从零开始",
    "topics: read first": "主题：先阅读",
    "topics: read first, the head alone tuned": "主题：先阅读，只调输出层",
    "sentiment: naive Bayes": "情感：朴素贝叶斯",
    "sentiment: from zero": "情感：从零开始",
    "sentiment: read first": "情感：先阅读",
    "sentiment: read first, the head alone tuned": "情感：先阅读，只调输出层",
    "presets/nanogpt.toml, torch's default path": "presets/nanogpt.toml，torch 默认路径",
    **{
        f"{english}: {who}": f"{chinese}：{name}"
        for english, chinese in SIZES.items()
        for who, name in {**PEERS, **{f"ours, {way}": f"我们的，{way}" for way in WAYS}}.items()
    },
    **{
        f"{form}: {who}, {batch} at once": f"{form}：{name}，同时 {batch} 篇"
        for form in ("fp32", "bf16")
        for batch in (1, 8)
        for who, name in {**WRITERS, "ours": "我们的"}.items()
    },
}

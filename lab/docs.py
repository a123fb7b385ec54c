"""`make docs`: the pages of the repository as a site in `site/`, in both languages, with a search and a reference.

Neither building nor reading it needs a network: open `site/index.html`. zensical makes the pages, once for each
language; before it everything gets its place (docs_pages.py) and the reference is written (docs_reference.py), while
it works formulas and diagrams are drawn (docs_markup.py), after it every link is tried (docs_links.py).
"""

import dataclasses
import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from fnmatch import fnmatch
from importlib.metadata import distribution
from pathlib import Path

from lab.docs_links import problems, targets
from lab.docs_pages import ROOT, address, chinese, markdown, source_page
from lab.docs_reference import pages as reference
from my_llm.cli import execute
from my_llm.errors import ConfigError

Chapter = tuple[str, str, list[str]]  # its name in both languages, and its pages
LANGUAGES = ("en", "zh")
TOOLS = {"zensical": "zensical", "math_core": "math-core", "mmdr": "mmdr", "ziamath": "ziamath"}  # module -> package

# The site in reading order: a chapter's names and its pages, by their English files. The stages follow the first one.
NAVIGATION = [
    (
        "Begin here",
        "从这里开始",
        [
            "README.md",
            "docs/en/roadmap.md",
            "docs/en/tracks.md",
            "docs/en/compare.md",
            "docs/en/showcase.md",
            "docs/en/courses.md",
        ],
    ),
    (
        "Projects",
        "项目",
        ["docs/en/stage5_answers.md", "docs/en/stage5_projects.md", "docs/en/stage5_code_and_verse.md"],
    ),
    ("How to", "怎么做", ["docs/en/howto_*.md"]),
    (
        "Data and sources",
        "数据与文献",
        ["docs/en/data.md", "docs/en/papers.md", "docs/en/glossary.md", "docs/en/safety.md"],
    ),
    ("Reference", "参考（英文）", ["docs/reference/*.md"]),
    ("The project", "关于本项目", ["docs/design.md", "docs/log.md", "CONTRIBUTING.md", "CHANGELOG.md"]),
]
OF_A_STAGE = {"README.md": ("overview", "概览"), ".ipynb": ("in pictures", "图解"), ".md": ("theory", "理论")}
PAGES = ("*.md", "docs/*.md", "docs/en/*.md", "stage[1-9]_*/README.md", "stage[1-9]_*/visualize.ipynb")
# A page that was opened as a file may start a worker from a text only, not from another file.
WITHOUT_SERVER = """if (location.protocol === "file:") {
  const source = SOURCE;
  window.Worker = class extends Worker { constructor() { super(URL.createObjectURL(new Blob([source]))); } };
}
"""
FRONT = """<!doctype html>
<meta charset="utf-8">
<title>my_llm</title>
<meta http-equiv="refresh" content="0; url=en/index.html">
<a href="en/index.html">English</a> <a href="zh/index.html">中文</a>
"""


@dataclasses.dataclass(frozen=True)
class DocsConfig:
    """Build the pages, in both languages, as a site in site/ that needs no network."""


def main(arguments: Sequence[str]) -> int:
    """The command: 0, or 1 with one line for each broken link and each page that is not in the navigation."""
    return execute(DocsConfig, lambda config: run(ROOT / "site"), arguments)


def run(site: Path) -> int:
    """Build the site and tell what is wrong with it."""
    started = time.monotonic()
    wrong = build(site)
    for line in wrong:
        print(line, file=sys.stderr)
    count = sum(1 for language in LANGUAGES for _ in (site / language).rglob("*.html"))
    print(f"{count} pages in {time.monotonic() - started:.0f} s; open {site / 'index.html'}")
    return 1 if wrong else 0


def build(site: Path) -> list[str]:
    """Put the site into a folder, in place of the one that was there.

    Returns:
        What is wrong, one line each.

    Raises:
        ConfigError: a tool is missing, or zensical failed.
    """
    missing = [package for module, package in TOOLS.items() if not importlib.util.find_spec(module)]
    if missing:
        step = f"python3 start.py docs, which installs them, or pip install {' '.join(missing)}"
        raise ConfigError("the tools that build the site are not installed", got=" ".join(missing), next_step=step)
    chapters, wrong = contents()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder).resolve()
        for language in LANGUAGES:
            place(work, language, chapters)
        wrong += generate(work)
        finish(work / "site")
        wrong += problems(work / "site")
        shutil.rmtree(site, ignore_errors=True)
        shutil.move(work / "site", site)
    return wrong


def contents() -> tuple[list[Chapter], list[str]]:
    """The chapters with the pages that there are, and a line for each page that has no place or no twin."""
    found = [path.relative_to(ROOT).as_posix() for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    found = [path for path in found if not path.endswith(".zh.md")] + list(reference())
    there = [path for path in found if path.startswith("docs/reference/") or (ROOT / chinese(path)).is_file()]
    chapters = [
        (english, other, [path for pattern in patterns for path in there if fnmatch(path, pattern)])
        for english, other, patterns in [NAVIGATION[0], *stages(), *NAVIGATION[1:]]
    ]
    placed = {path for *_, paths in chapters for path in paths}
    wrong = [
        f"{path}: in no chapter; next: add it to NAVIGATION in lab/docs.py" for path in there if path not in placed
    ]
    wrong += [f"{path}: no twin; next: write {chinese(path)}" for path in found if path not in there]
    return [chapter for chapter in chapters if chapter[2]], wrong


def stages() -> list[Chapter]:
    """A chapter for each stage: what is in the folder, the theory, the notebook, the bridge to the next one."""
    folders = sorted(page.parent for page in ROOT.glob("stage[1-9]_*/README.md"))
    return [
        (
            heading((folder / "README.md").read_text("utf-8")),
            heading((folder / "README.zh.md").read_text("utf-8")),
            [
                f"{folder.name}/README.md",
                f"docs/en/{folder.name}.md",
                f"{folder.name}/visualize.ipynb",
                f"docs/en/bridge_{folder.name[5]}_*.md",
            ],
        )
        for folder in folders
    ]


def heading(text: str) -> str:
    """The title of a page."""
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def title(path: str, text: str, language: str) -> str:
    """The name of a page in the navigation: its title, or for the pages of a stage what they are to it."""
    stage = re.match(r"(?:docs/en/)?(stage(\d)_\w+)", path)
    if not stage or not (ROOT / stage[1]).is_dir():
        return heading(text)
    names = next(names for end, names in OF_A_STAGE.items() if path.endswith(end))
    return f"{stage[2]} · {names[LANGUAGES.index(language)]}"


def place(work: Path, language: str, chapters: list[Chapter]) -> None:
    """Write the pages of one language where the site wants them, and the settings for zensical."""
    folder, written, navigation = work / "pages" / language, reference(), []
    for *names, paths in chapters:
        items = []
        for path in paths:
            own = chinese(path) if language == "zh" else path
            text = written.get(path) or markdown(ROOT / own)
            page = address(own, language).removeprefix(f"{language}/").removesuffix(".html") + ".md"
            (folder / page).parent.mkdir(parents=True, exist_ok=True)
            (folder / page).write_text(f"{text}\n\n<!-- page {own} {language} -->\n", "utf-8")
            items.append(f"{{ {json.dumps(title(path, text, language))} = {json.dumps(page)} }}")
        navigation.append(f"{{ {json.dumps(names[LANGUAGES.index(language)])} = [{', '.join(items)}] }}")
    shutil.copy(ROOT / "lab" / "docs.css", folder)
    scripts = Path(str(distribution("zensical").locate_file("zensical/templates/assets/javascripts/workers")))
    search = json.dumps(next(scripts.glob("search*.js")).read_text("utf-8"))
    (folder / "iframe-worker.js").write_text(WITHOUT_SERVER.replace("SOURCE", search), "utf-8")
    settings = (ROOT / "docs" / "zensical.toml").read_text("utf-8").replace("LANGUAGE", language)
    settings = settings.replace("THEME", (ROOT / "lab" / "docs_theme").as_posix())
    (work / f"{language}.toml").write_text(settings.replace('"NAVIGATION"', f"[{', '.join(navigation)}]"), "utf-8")


def generate(work: Path) -> list[str]:
    """Let zensical make both languages at once. Returns its warnings."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "zensical", "build", "--config-file", work / f"{language}.toml"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        for language in LANGUAGES
    ]
    outputs = [run.communicate()[0] for run in runs]
    if any(run.returncode for run in runs):
        print("\n".join(outputs), file=sys.stderr)
        raise ConfigError("zensical failed, it says why above")
    return [line for output in outputs for line in output.splitlines() if "warning" in line.lower()]


def finish(site: Path) -> None:
    """What both languages share: the front door, the figures, the font of the formulas, the source files linked to."""
    (site / "index.html").write_text(FRONT, "utf-8")
    shutil.copytree(ROOT / "docs" / "figures", site / "figures")
    shutil.copy(Path(str(distribution("ziamath").locate_file("ziamath/fonts/STIXTwoMath-Regular.ttf"))), site)
    for language in LANGUAGES:
        for name in ("404.html", "sitemap.xml", "sitemap.xml.gz"):  # for servers
            (site / language / name).unlink(missing_ok=True)
    pages = sorted(site.rglob("*.html"))
    while pages:
        wanted = {link for page in pages for link, _ in targets(site, page) if link.startswith("source/")}
        pages = []
        for file in sorted(site / link for link in wanted):
            path = re.sub(r"(/index)?\.html$", "", file.relative_to(site / "source").as_posix())
            text = None if file.exists() else source_page(path)
            if text:
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(text, "utf-8")
                pages.append(file)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

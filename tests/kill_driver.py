"""Kills a real training again and again, resumes it, and compares the end with a training that nobody disturbed.

    python kill_driver.py STAGE HOME KILLS SEED

Half of the kills come at a random moment; the other half are aimed inside a save: at a certain call of os.fsync or
os.replace. The interpreter is forked for each attempt, so that a kill costs a fraction of a second and not an import of
torch. Prints one line of JSON: {"runs", "kills", "aimed", "identical"}. Needs os.fork, so it does not run on Windows.
"""

import dataclasses
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

KILLS_PER_RUN = 10


def main() -> None:
    stage, home, kills, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    os.environ["MY_LLM_HOME"] = str(home)
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # a training imports both late: half of its time, for each attempt

    torch.set_num_threads(1)
    config, run = TRAININGS[stage]()

    started = time.perf_counter()
    assert attempt(run, config, None) == 0
    seconds = time.perf_counter() - started
    whole = newest(home / "runs" / stage, "whole")
    rng, done, aimed, runs, identical = random.Random(seed), 0, 0, 0, 0
    while done < kills:
        name, folder = f"killed{runs}", None
        for _ in range(min(KILLS_PER_RUN, kills - done)):
            aim = rng.randrange(1, 30) if rng.random() < 0.5 else None
            current = dataclasses.replace(config, run_name=name, resume=folder)
            died = attempt(run, current, rng.uniform(0, seconds) if aim is None else None, aim)
            done, aimed = done + died, aimed + (died and aim is not None)
            folder = newest(home / "runs" / stage, name)
        final = dataclasses.replace(config, run_name=name, resume=folder)
        assert attempt(run, final, None) == 0, f"{name} could not be resumed"
        folder = newest(home / "runs" / stage, name)
        assert folder is not None and whole is not None
        runs, identical = runs + 1, identical + same_end(whole, folder)
    print(json.dumps({"runs": runs, "kills": done, "aimed": int(aimed), "identical": identical}))


def stage1():
    """The classifier of stage 1, on few texts; read once here instead of once per attempt."""
    from my_llm.data import catalog
    from stage1_mlp.train import TrainConfig, run

    corpus = catalog.load("python_docs")
    small = dataclasses.replace(corpus, train=corpus.train[:300], validation=corpus.validation[:50])
    catalog.load = lambda *args, **kwargs: small
    return TrainConfig(dataset="python_docs", max_steps=120, batch_size=16, epochs=20, threads=1, run_name="whole"), run


def stage2():
    """The language model of stage 2, whose state is carried from step to step."""
    from my_llm.data import catalog
    from stage2_rnn_lstm.train import TrainConfig, run

    text = catalog.load_text("python_library")
    small = dataclasses.replace(text, train=text.train[:9000], validation=text.validation[:600])
    catalog.load_text = lambda *args, **kwargs: small
    return TrainConfig(
        dataset="python_library", max_steps=60, batch_size=4, length=16, hidden=24, embedding=8, eval_every=10,
        threads=1, run_name="whole",
    ), run  # fmt: skip


def stage3():
    """The translator of stage 3, which sometimes reads what it would say: random numbers in every step."""
    from my_llm.data import catalog
    from stage3_attention_seq2seq.train import TrainConfig, run

    corpus = catalog.load_pairs("numbers_en_fr")
    small = dataclasses.replace(corpus, train=corpus.train[:150], validation=corpus.validation[:6])
    catalog.load_pairs = lambda *args, **kwargs: small
    return TrainConfig(
        dataset="numbers_en_fr", max_steps=60, batch_size=4, vocab_size=300, hidden=16, embedding=8, eval_every=10,
        teacher_forcing=0.8, threads=1, run_name="whole",
    ), run  # fmt: skip


def stage4():
    """The translator of stage 4: batches of tokens, dropout, and a mean over validations that a resume must know."""
    from my_llm.data import catalog
    from stage4_transformer import tasks
    from stage4_transformer.train import TrainConfig, run

    corpus = catalog.load_pairs("numbers_en_fr")
    small = dataclasses.replace(corpus, train=corpus.train[:150], validation=corpus.validation[:6])
    tasks.TASKS["translate"] = tasks.TASKS["translate"]._replace(load=lambda name: small)
    return TrainConfig(
        dataset="numbers_en_fr", max_steps=60, max_tokens=160, vocab_size=300, model=16, heads=2, layers=1, hidden=32,
        average=3, eval_every=10, threads=1, run_name="whole",
    ), run  # fmt: skip


def stage5():
    """The GPT of stage 5: dropout, micro-batches, and an optimiser of its own."""
    from my_llm.data import catalog
    from stage5_gpt import planning
    from stage5_gpt.train import TrainConfig, run

    text = catalog.load_text("python_library")
    small = dataclasses.replace(text, train=text.train[:9000], validation=text.validation[:600])
    catalog.load_text = lambda *args, **kwargs: small
    planning.measure_matmul = lambda *args, **kwargs: 100.0
    return TrainConfig(
        dataset="python_library", max_steps=60, batch_size=4, accumulate=2, context=16, model=16, heads=2, layers=1,
        dropout=0.2, optimizer="muon", eval_every=10, threads=1, run_name="whole",
    ), run  # fmt: skip


TRAININGS = {
    "stage1_mlp": stage1, "stage2_rnn_lstm": stage2, "stage3_attention_seq2seq": stage3, "stage4_transformer": stage4,
    "stage5_gpt": stage5,
}  # fmt: skip


def attempt(run, config, delay: float | None, aim: int | None = None) -> bool:
    """Train in a forked child; True if it was killed. `aim` kills at that call of os.fsync or os.replace."""
    child = os.fork()
    if child == 0:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        if aim is not None:
            aim_inside_a_save(aim)
        code = 1
        try:
            code = run(config) or 0
        finally:
            os._exit(code)
    if delay is not None:
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL, f"attempt died of signal {os.WTERMSIG(status)}: {config}"
        return True
    assert os.WEXITSTATUS(status) == 0, f"attempt ended with {os.WEXITSTATUS(status)}: {config}"
    return False


def aim_inside_a_save(calls: int) -> None:
    """Die just before or just after the `calls`-th fsync or rename of the process."""
    left = [calls]

    def deadly(function):
        def call(*args):
            left[0] -= 1
            if left[0] == 0:
                if calls % 2:
                    function(*args)
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args)

        return call

    os.fsync, os.replace = deadly(os.fsync), deadly(os.replace)


def newest(runs: Path, name: str) -> Path | None:
    """The run's folder, if the kill left one that can be resumed."""
    folders = sorted(f for f in runs.glob(f"*-{name}") if (f / "config.toml").exists())
    return folders[-1] if folders else None


def same_end(one: Path, other: Path) -> bool:
    """Weights, optimiser, random state, best score and metrics are the same to the last bit."""
    from my_llm import checkpoint

    states = [[normal(checkpoint.load(f / name)) for name in ("best.pt", "last.pt")] for f in (one, other)]
    return states[0] == states[1] and metrics(one) == metrics(other)


def normal(value):
    """Tensors as bytes, times and the run's name dropped: comparable with ==."""
    import torch

    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items() if key not in ("seconds", "run_name")}
    return [normal(item) for item in value] if isinstance(value, list | tuple) else value


def metrics(folder: Path) -> list[dict]:
    from my_llm.journal import read_metrics

    return [{k: v for k, v in line.items() if k != "tokens_per_second"} for line in read_metrics(folder)]


if __name__ == "__main__":
    main()

"""Runs scripts one after the other, each as `python SCRIPT ARGUMENTS` would, but with torch imported already.

    python -X utf8 script_driver.py

Half of the time of a short training is the import of torch and of what torch and Matplotlib import late. It happens
here once, and the interpreter is forked for each script. Reads a line of JSON for each: {"script", "arguments",
"folder", "variables", "input"}, and answers with one: {"code", "output"}. Needs os.fork: it does not run on Windows.
"""

import json
import os
import runpy
import signal
import sys
import tempfile
import traceback
from pathlib import Path

TIMEOUT = 300


def main() -> None:
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from my_llm.device import prepare_matrix_path

    prepare_matrix_path()  # before torch is imported
    import matplotlib.pyplot  # noqa: F401
    import torch._dynamo  # noqa: F401

    for line in sys.stdin:
        with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as said:
            asked = json.loads(line)
            given.write(asked["input"].encode())
            given.seek(0)
            child = os.fork()
            if child == 0:
                for number, file in enumerate((given, said, said)):
                    os.dup2(file.fileno(), number)
                os._exit(run(asked))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            said.seek(0)
            print(json.dumps({"code": code, "output": said.read().decode()}), flush=True)


def run(asked: dict) -> int:
    """The exit code of the script."""
    sys.stdin = os.fdopen(0)  # without what the driver has read ahead
    signal.alarm(TIMEOUT)
    os.chdir(asked["folder"])
    os.environ.update(asked["variables"])
    sys.argv = [asked["script"], *asked["arguments"]]
    sys.path[0] = str(Path(asked["script"]).parent)
    code = 0
    try:
        runpy.run_path(asked["script"], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


if __name__ == "__main__":
    main()

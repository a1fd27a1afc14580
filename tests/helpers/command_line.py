"""A process that has TensorFlow loaded and runs `train.py`, `evaluate.py` and the export in children of its own.

Every child is a command line of its own: arguments, working directory, stdout, stderr, exit code. Only the seconds in
which TensorFlow loads are shared. Reads one JSON request per line, answers with one JSON line.
"""

import json
import os
import pathlib
import runpy
import signal
import sys
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


def serve():
    # TensorFlow reads it once, here: loaded before absl's app.run, it would look for a GPU, and say so, too early.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import keras_acet

    for name in keras_acet.__all__:  # names load lazily, and every child would load TensorFlow anew
        getattr(keras_acet, name)
    del os.environ["TF_CPP_MIN_LOG_LEVEL"]
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            print(json.dumps(os.waitstatus_to_exitcode(status)), flush=True)
        else:
            pid = os.fork()
            if pid == 0:
                run(**request)
            print(json.dumps(pid), flush=True)


def run(script, arguments, cwd, stdout, stderr, seconds=600):
    code = 1
    signal.alarm(seconds)  # ends the process: a test must not wait for ever
    try:
        for path, descriptor in ((os.devnull, 0), (stdout, 1), (stderr, 2)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC), descriptor)
        os.chdir(cwd)
        sys.argv = [str(ROOT / script), *arguments]
        if script.endswith(".py"):
            runpy.run_path(sys.argv[0], run_name="__main__")
        else:
            runpy.run_module(script, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()

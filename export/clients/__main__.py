"""Asks an exported model for label, confidence and decision of image files.

PROGRAM rest --model digits-acet 7.png 8.png
PROGRAM grpc --model digits-acet --version canary 7.png
PROGRAM onnx --model runs/digits-acet/export/digits-acet/1/model.onnx --threshold 0.9 7.png
"""

import argparse
import contextlib
import os
import pathlib
import sys
from collections.abc import Sequence

from .about import read_about
from .decoding import read_file
from .errors import UserError

_PROGRAM = f"python -m {__package__}"  # export.clients, or keras_acet.export.clients where it is installed


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        raise UserError(f"{message}; see {_PROGRAM} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line and returns its exit code: 2 if an image could not be read, or nothing could be asked."""
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output any more: `| head` has enough
        with contextlib.suppress(OSError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 128 + 13


def _run(argv):
    try:
        arguments = _parser().parse_args(argv)
        client = arguments.connect(arguments)
        readable = [_classify(client, path) for path in arguments.images]
    except UserError as error:
        _complain(_shown(" ".join(str(error).split())))
        return 2
    except KeyboardInterrupt:
        print("\nclients: stopped", file=sys.stderr)
        return 130
    return 0 if all(readable) else 2


def _parser():
    parser = _Parser(
        prog=_PROGRAM,
        description=(__doc__ or "").replace("PROGRAM", _PROGRAM),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    for kind, connect, text, port in (
        ("rest", _rest, "TensorFlow Serving over REST", 8501),
        ("grpc", _grpc, "TensorFlow Serving over gRPC", 8500),
        ("onnx", _onnx, "ONNX Runtime, without a server", None),
    ):
        one = kinds.add_parser(kind, help=text, description=text)
        one.set_defaults(connect=connect)
        if port:
            one.add_argument("--server", default=f"localhost:{port}", help="default: %(default)s")
            one.add_argument("--model", required=True, help="what the server calls the model")
            one.add_argument("--version", help="a number or a label, such as canary (default: the latest)")
        else:
            one.add_argument("--model", required=True, help="the ONNX file")
        if kind == "rest":
            one.add_argument("--metadata", help="metadata.json of the model, for the names of the classes")
        one.add_argument("--threshold", type=float, help="confidence from which to accept (default: the model's own)")
        one.add_argument("images", nargs="+", metavar="IMAGE", help="PNG or JPEG file")
    return parser


def _rest(arguments):
    from .over_rest import RestClient

    about = None
    if arguments.metadata:
        try:
            text = pathlib.Path(arguments.metadata).read_bytes()
        except OSError as error:
            raise UserError(f"--metadata={arguments.metadata} cannot be read: {error}") from error
        about = read_about(text, f"--metadata={arguments.metadata}")
    return RestClient(
        arguments.server, arguments.model, version=arguments.version, threshold=arguments.threshold, about=about
    )


def _grpc(arguments):
    from .over_grpc import GrpcClient

    return GrpcClient(arguments.server, arguments.model, version=arguments.version, threshold=arguments.threshold)


def _onnx(arguments):
    from .with_onnxruntime import OnnxModel

    return OnnxModel(arguments.model, threshold=arguments.threshold)


def _classify(client, path):
    try:
        answer = client.classify(read_file(path))
    except ValueError as error:
        _complain(f"{_shown(path)}: {_shown(error)}")
        return False
    decision = "accepted" if answer["accepted"] else "not accepted"
    label, confidence = _shown(answer["label"]), f"{answer['confidence']:.4f}"
    _write(f"{_shown(path)}: {label}  confidence {confidence}  {decision}", sys.stdout)
    return True


def _shown(text):
    """Text in one line, without what a terminal obeys: a line break in the name of a file becomes `\\n`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def _complain(text):
    _write(f"clients: error: {text}", sys.stderr)


def _write(line, stream):
    encoding = stream.encoding or "utf-8"
    print(line.encode(encoding, "backslashreplace").decode(encoding), file=stream, flush=True)


if __name__ == "__main__":
    sys.exit(main())

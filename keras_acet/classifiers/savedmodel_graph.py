"""Reads which operations a SavedModel holds, before any of them can run.

A SavedModel is a program: TensorFlow runs whatever its graph says, with the rights of the process. What a classifier
needs is arithmetic; an operation that reads or writes files, speaks to the network, calls Python or ends the process is
found here by its name.
"""

import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

# Operations with an effect outside of the graph, by the names in TensorFlow's registry.
_EFFECTS = re.compile(
    r"""
    (Experimental|_)?(
      ReadFile | WriteFile | MatchingFiles\w* | FileSystem\w+ | InitializeTableFromTextFile\w* | \w*Reader(V2)?
    | (TFRecord|TextLine|FixedLengthRecord|CSV|LMDB|Sql|Cache|Snapshot|Save|Load|DataService)\w*Dataset(V\d)?
    | SnapshotDatasetReader | SnapshotNestedDatasetReader | ListSnapshotChunksDataset | SnapshotChunkDataset
    | DatasetToTFRecord | RecordInput | RegisterDataset\w* | DatasetFromGraph | RemoteFusedGraphExecute
    | Save | SaveV2 | SaveSlices | DistributedSave | Restore | RestoreV2 | RestoreSlice | MergeV2Checkpoints
    | LoadAndRemapMatrix | GenerateVocabRemapping
    | \w*SummaryWriter | CreateSummary\w* | CloseSummaryWriter | FlushSummaryWriter | ImportEvent | Write\w*Summary
    | Debug\w+ | Dump\w* | EagerPyFunc | PyFunc | PyFuncStateless | Abort
    | Send | Recv | HostSend | HostRecv | Collective\w+ | RemoteCall | Rpc\w* | TryRpc | ConfigureDistributedTPU
    | Bigtable\w* | BigQuery\w* | PubSub\w*
    )
    """,
    re.VERBOSE,
)
# What saves and restores the variables of every SavedModel, on request alone.
_SAVER = {"SaveV2", "RestoreV2", "MergeV2Checkpoints"}


def effects(path: pathlib.Path) -> list[str]:
    """Returns the names of the operations of a SavedModel that reach beyond its graph, sorted; nothing of it runs.

    The two functions that save and restore its variables may hold the operations for that, as long as nothing else
    calls them.

    Args:
        path: Directory with `saved_model.pb`.

    Raises:
        ValueError: If the file is damaged.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        model = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    except Exception as error:  # of protobuf's own class
        raise ValueError(f"{path} must be a SavedModel. Received: a saved_model.pb that cannot be read.") from error
    return sorted({name for graph in model.meta_graphs for name in _of_graph(graph)})


def _of_graph(meta: Any) -> Iterator[str]:
    nodes = {node.name: node for node in meta.graph_def.node}
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    saver = _inputs(nodes, [meta.saver_def.save_tensor_name, meta.saver_def.restore_op_name])
    saver -= _inputs(nodes, _roots(meta))
    others = [node for name, node in nodes.items() if name not in saver]
    saver_nodes = [nodes[name] for name in saver]
    called = set(meta.object_graph_def.concrete_functions) | _called(others)
    called = _closure(functions, called)
    only_saver = _closure(functions, _called(saver_nodes)) - called
    for name, function in functions.items():
        yield from _names(function.node_def, _SAVER if name in only_saver else set())
    yield from _names(saver_nodes, _SAVER)
    yield from _names(others, set())


def _names(nodes: Iterable[Any], allowed: set[str]) -> Iterator[str]:
    for node in nodes:
        if node.op not in allowed and _EFFECTS.fullmatch(node.op):
            yield node.op
        if node.op == "PrintV2" and node.attr["output_stream"].s.startswith(b"file:"):
            yield "PrintV2 to a file"


def _roots(meta: Any) -> Iterator[str]:
    """Names of the tensors and operations of the main graph that a caller, or the loading of the model, asks for."""
    for signature in meta.signature_def.values():
        for tensor in (*signature.outputs.values(), *signature.inputs.values()):
            yield tensor.name
    for collection in meta.collection_def.values():
        yield from collection.node_list.value
    for asset in meta.asset_file_def:
        yield asset.tensor_info.name


def _inputs(nodes: dict[str, Any], names: Iterable[str]) -> set[str]:
    """The nodes of these names, and all that they depend on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop().removeprefix("^").partition(":")[0]
        if name in nodes and name not in found:
            found.add(name)
            waiting += nodes[name].input
    return found


def _called(nodes: Iterable[Any]) -> set[str]:
    """The functions that nodes name in their attributes, and by their operation."""
    names = set()
    for node in nodes:
        names.add(node.op)
        for value in node.attr.values():
            names |= {value.func.name, *(function.name for function in value.list.func)}
    return names


def _closure(functions: dict[str, Any], names: Iterable[str]) -> set[str]:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in functions and name not in found:
            found.add(name)
            waiting += _called(functions[name].node_def)
    return found

"""Runs a SavedModel as a C++ server does: TensorFlow's C API by ctypes, without TensorFlow's Python.

The module needs only numpy and the library inside the installed TensorFlow wheel, which is found without importing it.
A SavedModel may load in Python and fail here, because Python rebuilds variables from objects, while a server runs the
graph's own restore operation.
"""

import contextlib
import ctypes
import importlib.util
import pathlib
import weakref

import numpy as np

# From tensorflow/c/tf_datatype.h; each has the layout of the NumPy type.
_TYPES = {
    "float32": 1,
    "float64": 2,
    "int32": 3,
    "uint8": 4,
    "int16": 5,
    "int8": 6,
    "int64": 9,
    "bool": 10,
    "uint16": 17,
    "float16": 19,
    "uint32": 22,
    "uint64": 23,
}
_NAMES = {number: name for name, number in _TYPES.items()}
_STRING = 7
_STRING_BYTES = 24  # sizeof(TF_TString)
_POINTER, _TEXT, _INT, _SIZE = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t


class _Output(ctypes.Structure):
    _fields_ = (("operation", _POINTER), ("index", _INT))


_OUTPUTS, _POINTERS, _INT64S = (ctypes.POINTER(kind) for kind in (_Output, _POINTER, ctypes.c_int64))
_FUNCTIONS = {  # name -> result, arguments
    "TF_NewStatus": (_POINTER, ()),
    "TF_DeleteStatus": (None, (_POINTER,)),
    "TF_GetCode": (_INT, (_POINTER,)),
    "TF_Message": (_TEXT, (_POINTER,)),
    "TF_NewGraph": (_POINTER, ()),
    "TF_DeleteGraph": (None, (_POINTER,)),
    "TF_GraphOperationByName": (_POINTER, (_POINTER, _TEXT)),
    "TF_OperationNumOutputs": (_INT, (_POINTER,)),
    "TF_NewSessionOptions": (_POINTER, ()),
    "TF_DeleteSessionOptions": (None, (_POINTER,)),
    "TF_LoadSessionFromSavedModel": (
        _POINTER,
        (_POINTER, _POINTER, _TEXT, ctypes.POINTER(_TEXT), _INT, _POINTER, _POINTER, _POINTER),
    ),
    "TF_CloseSession": (None, (_POINTER, _POINTER)),
    "TF_DeleteSession": (None, (_POINTER, _POINTER)),
    "TF_SessionRun": (
        None,
        (_POINTER, _POINTER, _OUTPUTS, _POINTERS, _INT, _OUTPUTS, _POINTERS, _INT, _POINTER, _INT, _POINTER, _POINTER),
    ),
    "TF_AllocateTensor": (_POINTER, (_INT, _INT64S, _INT, _SIZE)),
    "TF_DeleteTensor": (None, (_POINTER,)),
    "TF_TensorType": (_INT, (_POINTER,)),
    "TF_NumDims": (_INT, (_POINTER,)),
    "TF_Dim": (ctypes.c_int64, (_POINTER, _INT)),
    "TF_TensorData": (_POINTER, (_POINTER,)),
    "TF_StringInit": (None, (_POINTER,)),
    "TF_StringCopy": (None, (_POINTER, _TEXT, _SIZE)),
    "TF_StringDealloc": (None, (_POINTER,)),
    "TF_StringGetDataPointer": (_POINTER, (_POINTER,)),
    "TF_StringGetSize": (_SIZE, (_POINTER,)),
}


class SavedModel:
    """A SavedModel in a session of TensorFlow's C API.

    Args:
        path: The directory of `saved_model.pb`.
        tags: Tags of the graph to load.

    Raises:
        RuntimeError: If TensorFlow cannot load it; the message is TensorFlow's.
        ImportError: If TensorFlow is not installed, or its library is not where it should be.

    Example, for tensor names as `signature_def["serving_default"]` has them:

        model = SavedModel("export/digits-acet/1")
        label, confidence = model.run({"serving_default_images:0": images}, ["PartitionedCall:3", "PartitionedCall:1"])
    """

    def __init__(self, path, tags=("serve",)):
        library = self._library = _load_library()
        self._graph = library.TF_NewGraph()
        weakref.finalize(self, library.TF_DeleteGraph, self._graph)  # finalizers run last in, first out
        names = (_TEXT * len(tags))(*(tag.encode() for tag in tags))
        options = library.TF_NewSessionOptions()
        try:
            with _status(library, path) as status:
                self._session = library.TF_LoadSessionFromSavedModel(
                    options, None, str(path).encode(), names, len(tags), self._graph, None, status
                )
        finally:
            library.TF_DeleteSessionOptions(options)
        weakref.finalize(self, _close, library, self._session)

    def run(self, inputs, outputs):
        """Computes tensors from tensors.

        Args:
            inputs: Dict tensor name, such as "serving_default_images:0", -> array. Texts are arrays of bytes, of dtype
                object or S; NumPy's S loses zero bytes at the end.
            outputs: List of tensor names.

        Returns:
            List of arrays, one for each name of `outputs`. Texts have dtype object, of bytes.

        Raises:
            ValueError: If the graph has no such tensor.
            TypeError: If an array has a dtype that is not supported.
            RuntimeError: If TensorFlow fails; the message is TensorFlow's.
        """
        library = self._library
        sources, targets = self._tensors(inputs), self._tensors(outputs)
        with contextlib.ExitStack() as stack:
            values = [_to_tensor(library, np.asarray(array), stack) for array in inputs.values()]
            values = (_POINTER * len(values))(*values)
            results = (_POINTER * len(outputs))()
            with _status(library, "run") as status:
                library.TF_SessionRun(
                    *(self._session, None, sources, values, len(values), targets, results, len(results)),
                    *(None, 0, None, status),
                )
            for result in results:
                stack.callback(library.TF_DeleteTensor, result)
            return [_to_array(library, result) for result in results]

    def _tensors(self, names):
        return (_Output * len(names))(*(self._tensor(name) for name in names))

    def _tensor(self, name):
        operation_name, _, index = name.partition(":")
        operation = self._library.TF_GraphOperationByName(self._graph, operation_name.encode())
        count = self._library.TF_OperationNumOutputs(operation) if operation else 0
        if not (index.isdecimal() and int(index) < count):
            raise ValueError(f"A tensor must be in the graph, written NAME:INDEX. Received: {name}.")
        return _Output(operation, int(index))


def _load_library():
    spec = importlib.util.find_spec("tensorflow")  # finds a top-level package without importing it
    if spec is None:
        raise ImportError("The C API is part of TensorFlow. Install the package: pip install tensorflow.")
    folder = pathlib.Path(spec.origin).parent
    # libtensorflow_cc.so.2 on Linux, libtensorflow_cc.2.dylib on macOS.
    paths = sorted(folder.glob("libtensorflow_cc.*"))
    if not paths:
        raise ImportError(f"TensorFlow's library libtensorflow_cc must be in {folder}. Install TensorFlow anew.")
    library = ctypes.CDLL(str(paths[0]))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


@contextlib.contextmanager
def _status(library, what):
    """Yields a TF_Status; raises `RuntimeError` at the end unless it is OK."""
    status = library.TF_NewStatus()
    try:
        yield status
        if library.TF_GetCode(status):
            message = library.TF_Message(status).decode(errors="replace")
            raise RuntimeError(f"{what}: {' '.join(message.split())}")
    finally:
        library.TF_DeleteStatus(status)


def _close(library, session):
    with _status(library, "close") as status:
        library.TF_CloseSession(session, status)
    with _status(library, "close") as status:
        library.TF_DeleteSession(session, status)


def _to_tensor(library, array, stack):
    """Copies an array to a TF_Tensor, which goes when `stack` closes."""
    is_text = array.dtype.kind in "SO"
    if not is_text and array.dtype.name not in _TYPES:
        raise TypeError(f"An array must be of {', '.join(sorted(_TYPES))}, or bytes. Received: {array.dtype}.")
    if is_text and not all(isinstance(item, bytes) for item in array.flat):
        raise TypeError("Texts must be bytes. Received: another object; encode str as UTF-8.")
    shape = (ctypes.c_int64 * array.ndim)(*array.shape)
    number = _STRING if is_text else _TYPES[array.dtype.name]
    length = array.size * _STRING_BYTES if is_text else array.nbytes
    tensor = library.TF_AllocateTensor(number, shape, array.ndim, length)
    stack.callback(library.TF_DeleteTensor, tensor)
    data = library.TF_TensorData(tensor)
    if not is_text:
        ctypes.memmove(data, np.ascontiguousarray(array).ctypes.data, length)
        return tensor
    for i, item in enumerate(array.flat):
        place = data + i * _STRING_BYTES
        library.TF_StringInit(place)
        library.TF_StringCopy(place, item, len(item))
        stack.callback(library.TF_StringDealloc, place)  # the tensor frees its own memory, not that of its texts
    return tensor


def _to_array(library, tensor):
    shape = tuple(library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor)))
    data, number = library.TF_TensorData(tensor), library.TF_TensorType(tensor)
    if number == _STRING:
        array = np.empty(shape, object)
        for i in range(array.size):
            place = data + i * _STRING_BYTES
            array.flat[i] = ctypes.string_at(library.TF_StringGetDataPointer(place), library.TF_StringGetSize(place))
        return array
    if number not in _NAMES:
        known = ", ".join(sorted(_TYPES))
        raise TypeError(f"A result must be of {known}, or text. Received: type {number} of tf_datatype.h.")
    array = np.empty(shape, _NAMES[number])
    ctypes.memmove(array.ctypes.data, data, array.nbytes)
    return array

"""Times llama.cpp on one model file and prints what `orion bench inference --json` prints for Orion.

Drives the C library inside xllamacpp's wheel through ctypes: no server, no sampling, no text, as `llama-bench` does.
Its parameter structs are passed on as the library filled them; only the two fields named below are written, and
their places hold for the pinned version alone.
"""

import argparse
import ctypes
import json
import time

import xllamacpp
from xllamacpp import xllamacpp as extension

VERSION = "2026.10.11549"
CONTEXT = 1024


class Opaque(ctypes.Structure):
    """Any struct that goes by value: the library reads and writes as much of it as it needs."""

    _fields_ = [("bytes", ctypes.c_ubyte * 512)]

    def put(self, offset, expected, value):
        field = ctypes.c_int32.from_buffer(self, offset)
        if field.value != expected:
            raise SystemExit(f"error: a parameter of llama.cpp is {field.value} where {expected} was expected")
        field.value = value


def load_library():
    if xllamacpp.__version__ != VERSION:
        raise SystemExit(f"error: xllamacpp {xllamacpp.__version__} is installed; this script knows {VERSION}")
    library = ctypes.CDLL(extension.__file__)
    pointer = ctypes.c_void_p
    for name, result, arguments in [
        ("llama_model_default_params", Opaque, []),
        ("llama_context_default_params", Opaque, []),
        ("llama_model_load_from_file", pointer, [ctypes.c_char_p, Opaque]),
        ("llama_init_from_model", pointer, [pointer, Opaque]),
        ("llama_set_n_threads", None, [pointer, ctypes.c_int32, ctypes.c_int32]),
        ("llama_batch_get_one", Opaque, [pointer, ctypes.c_int32]),
        ("llama_decode", ctypes.c_int32, [pointer, Opaque]),
        ("llama_synchronize", None, [pointer]),
        ("llama_get_memory", pointer, [pointer]),
        ("llama_memory_clear", None, [pointer, ctypes.c_bool]),
    ]:
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class Session:
    def __init__(self, library, path, threads, copy):
        self.library = library
        log = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.silent = log(lambda level, text, data: None)
        library.llama_log_set(self.silent, None)
        library.llama_backend_init()
        parameters = library.llama_model_default_params()
        if copy:
            parameters.put(24, -1, 0)  # load_mode: LLAMA_LOAD_MODE_AUTO, which maps the file, to LLAMA_LOAD_MODE_NONE
        self.model = library.llama_model_load_from_file(path.encode(), parameters)
        if not self.model:
            raise SystemExit(f"error: llama.cpp does not load {path}")
        parameters = library.llama_context_default_params()
        parameters.put(0, 512, CONTEXT)  # n_ctx
        self.context = library.llama_init_from_model(self.model, parameters)
        library.llama_set_n_threads(self.context, threads, threads)

    def process(self, tokens):
        """Seconds that the tokens take, with the logits of the last one."""
        array = (ctypes.c_int32 * len(tokens))(*tokens)
        start = time.perf_counter()
        if self.library.llama_decode(self.context, self.library.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("error: llama_decode fails")
        self.library.llama_synchronize(self.context)
        return time.perf_counter() - start

    def forget(self):
        self.library.llama_memory_clear(self.library.llama_get_memory(self.context), True)


def peak_resident_bytes():
    """Of this program. `getrusage` would count what the parent held when it started us; Linux has it here."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--prompt-tokens", type=int, required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--copy", action="store_true", help="read the weights into memory instead of mapping the file")
    options = parser.parse_args()

    start = time.perf_counter()
    session = Session(load_library(), options.model, options.threads, options.copy)
    prompt = [1 + i % 100 for i in range(options.prompt_tokens)]
    session.process(prompt)
    first = time.perf_counter() - start
    session.process([1])
    session.forget()

    prefill = session.process(prompt)
    decode = sum(session.process([1 + i % 100]) for i in range(options.tokens))
    print(json.dumps({
        "prefill_tokens_per_second": len(prompt) / prefill,
        "decode_tokens_per_second": options.tokens / decode if options.tokens else 0.0,
        "first_token_ms": first * 1e3,
        "peak_resident_bytes": peak_resident_bytes(),
    }))


if __name__ == "__main__":
    main()

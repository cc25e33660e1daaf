# SPDX-License-Identifier: MIT
"""numapool by ctypes, with nothing but the standard library: pools, slots as memoryviews, channels.

What is opened is closed by `with` or close(); what fails raises Error with the library's sentence. Payload is never copied:
a slot and a message's data are memoryviews of the shared memory. A message's view must not be used after its release.
"""

import ctypes
import ctypes.util
import errno
import os

FOREVER = 2**63 - 1
ANY_NODE = -1
OWN_NODE = -2
ABI = 1

KEYED = 1
REDELIVERED = 2
IN_CELL = 4

SMALL = 1
BROADCAST = 2


class Error(Exception):
    """code is the errno value, the text is the sentence."""

    def __init__(self, code):
        super().__init__(_library.numapool_errormsg().decode(errors="replace"))
        self.code = code


class Options(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("slot_bytes", ctypes.c_uint64), ("slots", ctypes.c_uint64),
        ("flags", ctypes.c_uint64), ("magazine_slots", ctypes.c_uint32), ("sharers", ctypes.c_uint32),
        ("node_slots", ctypes.POINTER(ctypes.c_uint64)), ("nodes", ctypes.c_uint32), ("policy", ctypes.c_uint32),
        ("low_watermark", ctypes.c_uint64), ("access", ctypes.c_char_p), ("device", ctypes.c_char_p), ("spill_slots", ctypes.c_uint64),
    ]


class ChannelOptions(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t), ("lane_slots", ctypes.c_uint32), ("flags", ctypes.c_uint32), ("spin_ns", ctypes.c_int64),
        ("magazine", ctypes.c_void_p),
    ]


class Msg(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p), ("length", ctypes.c_uint32), ("type", ctypes.c_uint16), ("flags", ctypes.c_uint16),
        ("id", ctypes.c_uint64), ("key", ctypes.c_uint64), ("lane_seq", ctypes.c_uint64), ("lane", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    ]


def _load():
    path = os.environ.get("NUMAPOOL_LIBRARY") or ctypes.util.find_library("numapool") or "libnumapool.so.0"
    library = ctypes.CDLL(path)
    handle, pointer, i64 = ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p), ctypes.c_int64
    for name, result, arguments in [
        ("errormsg", ctypes.c_char_p, []),
        ("version", ctypes.c_char_p, []),
        ("connect", ctypes.c_int, [pointer, ctypes.c_char_p]),
        ("disconnect", ctypes.c_int, [handle]),
        ("client_id", ctypes.c_int, [handle]),
        ("create", ctypes.c_int, [pointer, ctypes.POINTER(Options)]),
        ("open", ctypes.c_int, [handle, ctypes.c_char_p, ctypes.c_uint64, pointer]),
        ("close", ctypes.c_int, [handle]),
        ("slot_bytes", ctypes.c_uint64, [handle]),
        ("magazine_open_abi", ctypes.c_int, [handle, ctypes.c_int, ctypes.c_uint, pointer, ctypes.c_uint]),
        ("magazine_close", ctypes.c_int, [handle]),
        ("get_call", ctypes.c_void_p, [handle]),
        ("get_wait", ctypes.c_int, [handle, pointer, i64]),
        ("put_call", ctypes.c_int, [handle, ctypes.c_void_p]),
        ("sender_open", ctypes.c_int, [handle, ctypes.c_char_p, ctypes.POINTER(ChannelOptions), pointer]),
        ("sender_close", ctypes.c_int, [handle, i64]),
        ("loan_wait", ctypes.c_int, [handle, pointer, i64]),
        ("unloan", ctypes.c_int, [handle, ctypes.c_void_p]),
        ("send", ctypes.c_int, [handle, ctypes.POINTER(Msg), i64]),
        ("receiver_open", ctypes.c_int, [handle, ctypes.c_char_p, ctypes.POINTER(ChannelOptions), pointer]),
        ("receiver_close", ctypes.c_int, [handle]),
        ("receive", ctypes.c_int, [handle, ctypes.POINTER(Msg), ctypes.c_uint, i64]),
        ("release", ctypes.c_int, [handle, ctypes.POINTER(Msg), ctypes.c_uint]),
        ("keep", ctypes.c_int, [handle, ctypes.POINTER(Msg)]),
    ]:
        function = getattr(library, "numapool_" + name)
        function.restype, function.argtypes = result, arguments
    return library


_library = _load()


def _check(result):
    if result < 0:
        raise Error(-result)
    return result


def _view(address, length):
    return memoryview((ctypes.c_char * length).from_address(address)).cast("B")


def version():
    return _library.numapool_version().decode()


class _Handle:
    """Something of the library's that is closed once."""

    def __init__(self):
        self.handle = ctypes.c_void_p()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.handle:
            handle, self.handle = self.handle, ctypes.c_void_p()
            self._close(handle)


class Client(_Handle):
    def __init__(self, socket_path=None):
        super().__init__()
        _check(_library.numapool_connect(ctypes.byref(self.handle), os.fsencode(socket_path) if socket_path else None))

    def _close(self, handle):
        _check(_library.numapool_disconnect(handle))

    @property
    def id(self):
        return _check(_library.numapool_client_id(self.handle))

    def open(self, name, flags=0):
        pool = Pool()
        _check(_library.numapool_open(self.handle, name.encode(), flags, ctypes.byref(pool.handle)))
        return pool


class Pool(_Handle):
    """Of a daemon by Client.open, of this process alone by Pool.create."""

    @classmethod
    def create(cls, name, slot_bytes, slots, flags=0):
        pool = cls()
        options = Options(size=ctypes.sizeof(Options), name=name.encode(), slot_bytes=slot_bytes, slots=slots, flags=flags)
        _check(_library.numapool_create(ctypes.byref(pool.handle), ctypes.byref(options)))
        return pool

    def _close(self, handle):
        _check(_library.numapool_close(handle))

    @property
    def slot_bytes(self):
        return _library.numapool_slot_bytes(self.handle)

    def magazine(self, node=OWN_NODE, capacity=0):
        return Magazine(self, node, capacity)

    def sender(self, channel, **options):
        return Sender(self, channel, options)

    def receiver(self, channel, **options):
        return Receiver(self, channel, options)


class Slot:
    """A slot that this process holds: .view is its memory."""

    def __init__(self, address, length):
        self.address = address
        self.view = _view(address, length)


class Magazine(_Handle):
    def __init__(self, pool, node, capacity):
        super().__init__()
        self._bytes = pool.slot_bytes
        _check(_library.numapool_magazine_open_abi(pool.handle, node, capacity, ctypes.byref(self.handle), ABI))

    def _close(self, handle):
        _check(_library.numapool_magazine_close(handle))

    def get(self, timeout_ns=0):
        address = ctypes.c_void_p()
        _check(_library.numapool_get_wait(self.handle, ctypes.byref(address), timeout_ns))
        return Slot(address.value, self._bytes)

    def put(self, slot):
        _check(_library.numapool_put_call(self.handle, slot.address))


def _channel_options(options):
    return ctypes.byref(ChannelOptions(size=ctypes.sizeof(ChannelOptions), **options)) if options else None


class Sender(_Handle):
    def __init__(self, pool, channel, options):
        super().__init__()
        self._bytes = pool.slot_bytes
        _check(_library.numapool_sender_open(pool.handle, channel.encode(), _channel_options(options), ctypes.byref(self.handle)))

    def _close(self, handle):
        _check(_library.numapool_sender_close(handle, 10**9))

    def loan(self, timeout_ns=FOREVER):
        address = ctypes.c_void_p()
        _check(_library.numapool_loan_wait(self.handle, ctypes.byref(address), timeout_ns))
        return Slot(address.value, self._bytes)

    def unloan(self, slot):
        _check(_library.numapool_unloan(self.handle, slot.address))

    def send(self, slot, length, id=0, key=0, type=0, flags=0, timeout_ns=FOREVER):
        message = Msg(data=slot.address, length=length, id=id, key=key, type=type, flags=flags)
        _check(_library.numapool_send(self.handle, ctypes.byref(message), timeout_ns))


class Message:
    """A received message; release it by Receiver.release, or keep its slot by Receiver.keep."""

    def __init__(self, raw):
        self.raw = raw
        self.view = _view(raw.data, raw.length).toreadonly() if raw.length else memoryview(b"")

    id = property(lambda self: self.raw.id)
    key = property(lambda self: self.raw.key)
    type = property(lambda self: self.raw.type)
    redelivered = property(lambda self: bool(self.raw.flags & REDELIVERED))


class Receiver(_Handle):
    def __init__(self, pool, channel, options):
        super().__init__()
        self._bytes = pool.slot_bytes
        _check(_library.numapool_receiver_open(pool.handle, channel.encode(), _channel_options(options), ctypes.byref(self.handle)))

    def _close(self, handle):
        _check(_library.numapool_receiver_close(handle))

    def receive(self, most=64, timeout_ns=FOREVER):
        """Up to `most` messages; none: nothing came in time."""
        raw = (Msg * most)()
        count = _library.numapool_receive(self.handle, raw, most, timeout_ns)
        if count in (-errno.EAGAIN, -errno.ETIMEDOUT):
            return []
        return [Message(Msg.from_buffer_copy(raw[i])) for i in range(_check(count))]

    def release(self, *messages):
        if messages:
            raw = (Msg * len(messages))(*[message.raw for message in messages])
            _check(_library.numapool_release(self.handle, raw, len(messages)))

    def keep(self, message):
        _check(_library.numapool_keep(self.handle, ctypes.byref(message.raw)))
        return Slot(message.raw.data, self._bytes)

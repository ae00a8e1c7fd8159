"""The base of the compiled drivers that a shortcut can serve (see wire.pxd): one burst in, and a position in a burst out.

Knows: the buffer, how an ended descriptor is told of. Refuses to know: what a read and a write are; the drivers bring both.
"""

from libc.errno cimport EAGAIN

import errno as errno_names

from netvirt.burst cimport is_frames

cdef extern from "Python.h":
    bytearray PyByteArray_FromStringAndSize(const char *text, Py_ssize_t size)
    char *PyByteArray_AS_STRING(object array)


cdef class Wire:
    """Frames between one descriptor and bursts; tap_io.TapIo and packet_io.PacketIo are such.

    `ended` is empty until the descriptor is good for nothing more, then one word that says why; `down`: the last read or
    write found the interface down.
    """

    cdef void hold(self, wire_t *w, Py_ssize_t room, pull_t pull, push_t push):
        # Not bytearray(n), which would write zeros: an idle port must not own touched pages.
        self._store = PyByteArray_FromStringAndSize(NULL, room)
        self._view = memoryview(self._store).toreadonly()
        self.w = w
        w.message = <uint8_t *>PyByteArray_AS_STRING(self._store)
        w.pull = pull
        w.push = push

    cdef void begin(self, int fd):
        # Another descriptor, or the queue was emptied: forget where we were, and that it ended.
        self.w.fd = fd
        self.w.index = 0
        self.w.down = False
        self.ended = ""

    @property
    def down(self):
        return self.w.down

    def fill(self):
        """Reads what is there, at most one turn of it; returns the frames as one FRAMES message, or None.

        The message (a memoryview) is valid until the next call. Look at `ended` after every call.
        """
        cdef int code
        if self.ended:
            return None
        with nogil:
            code = self.w.pull(self.w)
        if code:
            self.ended = "eof" if code < 0 else _word(code)
        return self._view[:self.w.used] if self.w.count else None

    def drain(self, const uint8_t[::1] message not None):
        """Writes the frames of one FRAMES message; False when there is no room for the rest now.

        Call it again with the same message then: the position is kept. Look at `ended` after every call.
        """
        cdef size_t size = message.shape[0]
        cdef const uint8_t *m = &message[0] if size else NULL
        cdef int code
        if m == NULL or not is_frames(m, size):
            raise ValueError("the message is no FRAMES message")
        with nogil:
            code = self.w.push(self.w, m, size)
        if code == EAGAIN:
            return False
        if code:
            self.ended = _word(code)
        return True


cdef str _word(int code):
    return errno_names.errorcode.get(code, "error").lower()

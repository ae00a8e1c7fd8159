# A descriptor's frames both ways, as C: what a compiled driver offers to the shortcut (shortcut.pyx) and to its own class.
from libc.stdint cimport uint8_t, uint32_t

cdef struct wire_t
ctypedef int (*pull_t)(wire_t *w) noexcept nogil
ctypedef int (*push_t)(wire_t *w, const uint8_t *m, size_t size) noexcept nogil

cdef struct wire_t:
    int fd
    # Reads what is there, at most a turn of it, into one FRAMES message: `message`, `used` bytes, `count` frames.
    # 0, an errno that ends the descriptor, or -1 for the end of a stream.
    pull_t pull
    # Writes a whole FRAMES message. 0: done with it; EAGAIN: no room for the rest, call again with the same one; else the
    # errno that ends the descriptor.
    push_t push
    uint8_t *message
    size_t used
    uint32_t count
    uint32_t index            # of the frame that push() goes on with ...
    size_t next               # ... and where it begins
    bint down                 # the last write found the interface down

cdef class Wire:
    cdef wire_t *w
    cdef bytearray _store
    cdef object _view
    cdef readonly str ended
    cdef void hold(self, wire_t *w, Py_ssize_t room, pull_t pull, push_t push)
    cdef void begin(self, int fd)

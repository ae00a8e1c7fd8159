# Notes that the pipeline makes while one frame is traced: (rule, port, value). tracing.py says what they mean.
from libc.stdint cimport uint32_t

from netvirt.dataplane.counters cimport counters_t
from netvirt.dataplane.tables cimport NOTES, plane_t, port_t, vf_unlikely

# In the order of tracing.RULES.
cdef enum:
    NOTE_DROP = 0             # value: the reason's number
    NOTE_TAG = 1              # a tag was taken; value: its TCI
    NOTE_UNTAGGED = 2         # no tag was taken; value: the PVID
    NOTE_VLAN = 3             # value: the VID inside
    NOTE_LEARNED = 4          # value: fdb_learn's verdict
    NOTE_FOUND = 5            # port: where the destination is
    NOTE_FLOOD = 6            # value: the kind
    NOTE_LEFT = 7             # port: where it left; value: tag's TPID and TCI, 0 = without a tag
    NOTE_COPY = 8             # port: where a mirror's copy left; value: the mirror
    NOTE_LOST = 9             # port: where a mirror's copy did not leave; value: the reason's number, the mirror << 8


cdef inline void note(plane_t *s, uint32_t rule, uint32_t port, uint32_t value) noexcept nogil:
    if vf_unlikely(s.trace != NULL) and s.trace.count < NOTES:
        s.trace.notes[s.trace.count].rule = rule
        s.trace.notes[s.trace.count].port = port
        s.trace.notes[s.trace.count].value = value
        s.trace.count += 1


cdef inline void drop(plane_t *s, uint32_t number, int why) noexcept nogil:
    s.ports[number].count.drops[why] += 1
    note(s, NOTE_DROP, number, <uint32_t>why)


cdef inline void lose(plane_t *s, uint32_t number, int why, int mirror) noexcept nogil:
    # Like drop(), of a copy: the frame itself goes on.
    s.ports[number].count.drops[why] += 1
    note(s, NOTE_LOST, number, <uint32_t>why | <uint32_t>mirror << 8)

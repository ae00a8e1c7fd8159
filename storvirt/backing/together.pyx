"""Large reads of files shared by two threads. The one helper of the process lives here; together.h has what it does."""

from storvirt.backing.together cimport together_job

cdef extern from "../backing/together.h" nogil:
    uint32_t together_read(together_job *job)


cdef uint32_t read_together(together_job *job) noexcept nogil:
    return together_read(job)

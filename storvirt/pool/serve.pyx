"""A volume served over NBD, in bursts: all requests that one read brought are executed in one call, against the engine.

Knows: which request does what to the engine, which answers wait for the log's record or for a flush.
Refuses to know: sockets, negotiation, when a suspended pool may go on, how a flush is made durable.

Reads are answered as they are met. Writes are put into the log's record and answered together when it is appended: one
append per burst. A request that the pool can't take now (storvirt.pool.pool.Suspended) is kept, and everything of that
client behind it waits, until resume().
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.nbd.output cimport Output
from storvirt.nbd.session cimport (CMD_BLOCK_STATUS, CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES,
                                   FLAG_FUA, FLAG_REQ_ONE, HOSTILE, NEED_MORE, Session, request_t)
from storvirt.pool.engine cimport Engine
from storvirt.pool.reader cimport Disk

from storvirt.block import BlockError
from storvirt.nbd.execute import AGAIN, HUNGRY, LATER, MOST_EXTENTS, OUTPUT_LIMIT
from storvirt.nbd.handshake import CONTEXT_ID
from storvirt.nbd.wire import STATE_HOLE, STATE_ZERO, error_of
from storvirt.pool.pool import Suspended

cdef enum:
    MOST = 256               # requests in one call, so that other clients have their turn

cdef bytes _REFUSED = b"the request does not fit this export"


cdef class Served:
    """`execute` of storvirt.nbd.client.Export for one volume.

    flush(done): makes everything acknowledged so far durable and calls done(error), error None or a BlockError; at once or
    later, on the same thread.
    """

    cdef object pool, flush
    cdef Engine engine
    cdef Disk disk
    cdef list waiting         # (output, cookie): written, to be answered when the record is appended
    cdef list durable         # the same, and it must be durable first
    cdef dict parked          # session -> (type, flags, cookie, offset, length, payload)
    cdef dict kicks           # session -> kick, of those that wait for resume()
    cdef bint inside          # a call is under way: replies put now are sent by its caller

    def __cinit__(self, pool, Disk disk, flush):
        self.pool, self.disk, self.flush = pool, disk, flush
        self.engine = pool.engine
        self.waiting, self.durable, self.parked, self.kicks = [], [], {}, {}

    def __call__(self, Session session, kick):
        """Execute what the session holds; see storvirt.nbd.execute.execute."""
        cdef int answer
        if session in self.parked:
            return LATER
        self.inside = True
        try:
            answer = self._burst(session)
        except Suspended:
            answer = LATER
        try:
            if not self._acknowledge(kick) or answer == LATER:
                self.kicks[session] = kick
                return LATER
        finally:
            self.inside = False
        return answer

    cdef int _burst(self, Session session) except -1:
        cdef Output output = session.output
        cdef request_t request
        cdef int state, i
        cdef uint32_t refusal
        self.pool.make_room()
        for i in range(MOST):
            if output.waiting() >= <size_t>OUTPUT_LIMIT:
                return AGAIN
            state = session.next_request(&request)
            if state == NEED_MORE:
                return HUNGRY
            if state == HOSTILE:
                session.raise_hostile()
            if request.type == CMD_DISC:
                continue
            refusal = session.refusal(&request)
            if refusal:
                output.put_error(request.cookie, refusal, _REFUSED, len(_REFUSED))
                continue
            self._one(session, &request)
        return AGAIN

    cdef int _one(self, Session session, const request_t *request) except -1:
        cdef Output output = session.output
        cdef size_t mark = output.waiting()
        cdef uint8_t *place
        try:
            if request.type == CMD_READ:
                place = output.put_read(request.cookie, request.offset, request.length)
                if place == NULL:
                    raise MemoryError()
                self.engine._read(self.disk, request.offset, request.length, place)
            elif request.type == CMD_WRITE:
                self.engine._write(self.disk, request.offset, request.length, request.payload)
                self._written(output, request)
            elif request.type == CMD_FLUSH:
                self.durable.append((output, request.cookie))
            elif request.type == CMD_BLOCK_STATUS:
                self._status(output, request)
            else:
                self.engine.zero(self.disk, request.offset, request.length)
                self._written(output, request)
        except BlockError as error:
            output.give_back(mark)
            output.error(request.cookie, error_of(error.errno), error.strerror or str(error))
        except Suspended:
            output.give_back(mark)
            payload = None if request.payload == NULL else (<const char *>request.payload)[: request.length]
            self.parked[session] = (request.type, request.flags, request.cookie, request.offset, request.length, payload)
            raise
        return 0

    cdef int _written(self, Output output, const request_t *request) except -1:
        (self.durable if request.flags & FLAG_FUA else self.waiting).append((output, request.cookie))
        return 0

    cdef int _status(self, Output output, const request_t *request) except -1:
        cdef list found = []
        cdef int most = 1 if request.flags & FLAG_REQ_ONE else MOST_EXTENTS
        for extent in self.engine.extents(self.disk, request.offset, request.length):
            found.append((extent.length, 0 if extent.data else STATE_HOLE | STATE_ZERO))
            if len(found) == most:
                break
        output.status(request.cookie, CONTEXT_ID, found)
        return 0

    cdef bint _acknowledge(self, kick) except? True:
        """Append the record and answer; False when the pool can't take it now."""
        cdef Output output
        cdef uint64_t cookie
        if not self.waiting and not self.durable:
            return True
        try:
            self.engine.commit()
        except Suspended:
            return False
        except BlockError as error:
            self._refuse(error)
            return True
        for output, cookie in self.waiting:
            output.put_done(cookie)
        self.waiting.clear()
        if self.durable:
            answered, self.durable = self.durable, []

            def done(error):
                for output, cookie in answered:
                    if error is None:
                        output.done(cookie)
                    else:
                        output.error(cookie, error_of(error.errno), error.strerror or str(error))
                if not self.inside:
                    kick()

            self.flush(done)
        return True

    def _refuse(self, error):
        """The record can't be appended, ever: nothing of this burst was promised."""
        for output, cookie in [*self.waiting, *self.durable]:
            output.error(cookie, error_of(error.errno), error.strerror or str(error))
        self.waiting.clear()
        self.durable.clear()

    @property
    def stalled(self):
        """Whether clients wait for resume()."""
        return bool(self.kicks)

    def resume(self):
        """Try again what the pool could not take; its clients go on if it can now. True: nobody waits any more."""
        parked = dict(self.parked)
        try:
            for session, (kind, flags, cookie, offset, length, payload) in parked.items():
                self._again(session, kind, flags, cookie, offset, length, payload)
                del self.parked[session]
        except Suspended:
            return False
        if not self._acknowledge(lambda: None):
            return False
        kicks, self.kicks = self.kicks, {}
        for kick in kicks.values():
            kick()
        return not self.kicks

    def _again(self, Session session, int kind, int flags, cookie, offset, length, payload):
        output = session.output
        try:
            if kind == CMD_WRITE:
                self.engine.write(self.disk, offset, payload)
            elif kind != CMD_FLUSH:
                self.engine.zero(self.disk, offset, length)
        except BlockError as error:
            output.error(cookie, error_of(error.errno), error.strerror or str(error))
            return
        (self.durable if kind == CMD_FLUSH or flags & FLAG_FUA else self.waiting).append((output, cookie))

    def forget(self, Session session):
        """The client is gone: what it asked for and was not answered is not tried again."""
        self.parked.pop(session, None)
        self.kicks.pop(session, None)

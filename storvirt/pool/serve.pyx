"""A volume served over NBD, in bursts: all requests that one read brought are executed in one call, against the engine.

Knows: which request does what to the engine, which answers wait for the log's record or for a flush.
Refuses to know: sockets, negotiation, when a suspended pool may go on, how a flush is made durable.

Reads are answered as they are met. Writes are put into the log's record and answered together when it is appended: one
append per burst. A request that the pool can't take now (storvirt.pool.pool.Suspended) is kept, and everything of that
client behind it waits, until resume().

A read never waits for a device at first. When it would, the kernel is asked for what it needs and for what the reads
behind it need, all at once, and the others have their turn; afterwards at most one read in a turn waits. So a disk gets
as many requests at a time as the client sends, and for reads from memory nothing changes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from storvirt.nbd.output cimport Output
from storvirt.nbd.session cimport (CMD_BLOCK_STATUS, CMD_DISC, CMD_FLUSH, CMD_READ, CMD_TRIM, CMD_WRITE, CMD_WRITE_ZEROES,
                                   FLAG_FUA, FLAG_REQ_ONE, HOSTILE, NEED_MORE, Session, request_t)
from storvirt.pool.engine cimport Engine
from storvirt.pool.reader cimport COLD, Disk

from storvirt.block import BlockError
from storvirt.nbd.execute import AGAIN, HUNGRY, LATER, MOST_EXTENTS, OUTPUT_LIMIT
from storvirt.nbd.handshake import CONTEXT_ID
from storvirt.nbd.wire import STATE_HOLE, STATE_ZERO, error_of
from storvirt.pool.pool import Suspended

cdef enum:
    MOST = 256               # requests in one call, so that other clients have their turn
    MOST_AHEAD = 8388608     # bytes that are fetched for reads to come

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
    cdef list durable         # (output, cookie, kick): the same, and it must be durable first
    cdef dict parked          # session -> (type, flags, cookie, offset, length, payload)
    cdef dict kicks           # session -> kick, of those that wait for resume()
    cdef str why              # they do
    cdef dict ahead           # session -> how many of its next requests had what they need fetched
    cdef int fetched          # the same of the session whose turn it is
    cdef bint inside          # a call is under way: replies put now are sent by its caller

    def __cinit__(self, pool, Disk disk, flush):
        self.pool, self.disk, self.flush = pool, disk, flush
        self.engine = pool.engine
        self.waiting, self.durable, self.parked, self.kicks, self.ahead = [], [], {}, {}, {}
        self.why = ""

    def __call__(self, Session session, kick):
        """Execute what the session holds; see storvirt.nbd.execute.execute."""
        cdef int answer = LATER
        if session in self.parked:
            return LATER
        self.inside = True
        self.fetched = self.ahead.pop(session, 0)
        try:
            answer = self._burst(session, kick)
        except Suspended as trouble:
            self._stall(session, kick, trouble)
        finally:
            trouble = self._acknowledge()
            self.inside = False
            if trouble is not None:
                self._stall(session, kick, trouble)
                answer = LATER
        if answer == AGAIN and self.fetched > 0:
            self.ahead[session] = self.fetched
        return answer

    cdef int _stall(self, Session session, kick, trouble) except -1:
        self.kicks[session], self.why = kick, str(trouble)
        return 0

    cdef int _burst(self, Session session, kick) except -1:
        cdef Output output = session.output
        cdef request_t request
        cdef int state, i
        cdef uint32_t refusal
        cdef bint may_wait = self.fetched > 0, room = False
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
            if not room and request.type in (CMD_WRITE, CMD_TRIM, CMD_WRITE_ZEROES):
                self._make_room(session, &request)
                room = True
            if self._one(session, &request, kick, False) == COLD:
                if self.fetched <= 0 or not may_wait:
                    session.put_back(&request)
                    if self.fetched <= 0:
                        self.fetched = self._fetch_ahead(session)
                    return AGAIN
                may_wait = False
                self._one(session, &request, kick, True)
            self.fetched -= 1
        return AGAIN

    cdef int _make_room(self, Session session, const request_t *request) except -1:
        """Before the first change of a burst; if that can't be now, the request stays the next one."""
        try:
            self.pool.make_room()
        except BaseException:
            session.put_back(request)
            raise
        return 0

    cdef int _fetch_ahead(self, Session session) except -1:
        """Have fetched what the reads need that the session holds; how many requests were looked at."""
        cdef request_t request
        cdef size_t at = 0, size
        cdef uint64_t amount = 0
        cdef int i
        for i in range(MOST):
            size = session.look(at, &request)
            if size == 0 or amount > MOST_AHEAD:
                return i
            at += size
            if request.type == CMD_READ and session.refusal(&request) == 0:
                amount += request.length
                try:
                    self.engine._fetch(self.disk, request.offset, request.length)
                except BlockError:
                    pass         # the read will say so
        return MOST

    cdef int _one(self, Session session, const request_t *request, kick, bint wait) except -1:
        """0; COLD for a read that would have to wait, if it is not to: nothing has happened then."""
        cdef Output output = session.output
        cdef size_t mark = output.waiting()
        cdef uint8_t *place
        try:
            if request.type == CMD_READ:
                place = output.put_read(request.cookie, request.offset, request.length)
                if place == NULL:
                    raise MemoryError()
                if self.engine._read(self.disk, request.offset, request.length, place, wait) == COLD:
                    output.give_back(mark)
                    return COLD
            elif request.type == CMD_WRITE:
                self.engine._write(self.disk, request.offset, request.length, request.payload)
                self._written(output, request, kick)
            elif request.type == CMD_FLUSH:
                self.durable.append((output, request.cookie, kick))
            elif request.type == CMD_BLOCK_STATUS:
                self._status(output, request)
            else:
                self.engine.zero(self.disk, request.offset, request.length)
                self._written(output, request, kick)
        except BlockError as error:
            output.give_back(mark)
            output.error(request.cookie, error_of(error.errno), error.strerror or str(error))
        except Suspended:
            output.give_back(mark)
            payload = None if request.payload == NULL else (<const char *>request.payload)[: request.length]
            self.parked[session] = (request.type, request.flags, request.cookie, request.offset, request.length, payload)
            raise
        return 0

    cdef int _written(self, Output output, const request_t *request, kick) except -1:
        if request.flags & FLAG_FUA:
            self.durable.append((output, request.cookie, kick))
        else:
            self.waiting.append((output, request.cookie))
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

    cdef object _acknowledge(self):
        """Append the record and answer; the Suspended with which the pool can't take it now, else None."""
        cdef Output output
        cdef uint64_t cookie
        if not self.waiting and not self.durable:
            return None
        try:
            self.engine.commit()
        except Suspended as trouble:
            return trouble
        except BlockError as error:
            self._refuse(error)
            return None
        for output, cookie in self.waiting:
            output.put_done(cookie)
        self.waiting.clear()
        if self.durable:
            answered, self.durable = self.durable, []
            self.flush(lambda error: self._flushed(answered, error))
        return None

    def _flushed(self, answered, error):
        """These are durable; or they will never be, says `error`."""
        for output, cookie, _ in answered:
            if error is None:
                output.done(cookie)
            else:
                output.error(cookie, error_of(error.errno), error.strerror or str(error))
        if not self.inside:
            for kick in dict.fromkeys(kick for _, _, kick in answered):
                kick()

    def _refuse(self, error):
        """The record can't be appended, ever: nothing of this burst was promised."""
        for output, cookie, *_ in [*self.waiting, *self.durable]:
            output.error(cookie, error_of(error.errno), error.strerror or str(error))
        self.waiting.clear()
        self.durable.clear()

    @property
    def stalled(self):
        """Why clients wait for resume(), in one sentence; "" if none does."""
        return self.why if self.kicks else ""

    def resume(self):
        """Try again what the pool could not take; its clients go on if it can now. True: nobody waits any more."""
        try:
            for session, (kind, flags, cookie, offset, length, payload) in list(self.parked.items()):
                self._again(session, kind, flags, cookie, offset, length, payload)
                del self.parked[session]
            trouble = self._acknowledge()
        except Suspended as again:
            trouble = again
        if trouble is not None:
            self.why = str(trouble)
            return False
        kicks, self.kicks = self.kicks, {}
        for kick in kicks.values():
            kick()
        return not self.kicks

    def _again(self, Session session, int kind, int flags, cookie, offset, length, payload):
        output = session.output
        try:
            if kind == CMD_READ:
                output.data(cookie, offset, self.engine.read(self.disk, offset, length))
                return
            if kind == CMD_WRITE:
                self.engine.write(self.disk, offset, payload)
            else:
                self.engine.zero(self.disk, offset, length)
        except BlockError as error:
            output.error(cookie, error_of(error.errno), error.strerror or str(error))
            return
        if flags & FLAG_FUA:
            self.durable.append((output, cookie, self.kicks[session]))
        else:
            self.waiting.append((output, cookie))

    def forget(self, Session session):
        """The client is gone: what it asked for and was not answered is not tried again.

        What is in the log's record already is appended with the next one.
        """
        for table in (self.parked, self.kicks, self.ahead):
            table.pop(session, None)
        self.waiting = [one for one in self.waiting if one[0] is not session.output]
        self.durable = [one for one in self.durable if one[0] is not session.output]

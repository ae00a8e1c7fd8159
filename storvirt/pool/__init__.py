"""The pool: members, slabs, grains, log, map, commit ring. This page is the one place that explains the on-disk
format's ideas and why no crash loses data; `format.py` has the bytes.

# One primitive
Write a grain to new space, then switch its pointer. Nothing that is live is ever overwritten, so there is no
read-modify-write of a stripe, no write hole, and no difference between healthy and degraded writing.

# Words
- *Member*: a backing file. *Extent*: a piece of a member, of one size in the whole pool (4 MiB).
- *Slab*: extents of different members with one RAID profile, cut from wherever space is free. A slab of profile (k
  data, m parity or copies) is divided into *slots*; slot i lies at the same place in each of its extents. Its columns
  stand in one or several *groups*, each of which survives the loss of any p columns (`raid/layout.py` has the levels).
  Which members a slab is cut from, and who gets which column, is `space.py`: those with most room; in turn, so that
  each has its share of parity; neighbours in one group, so that a nested level's groups are of the same members
  everywhere. raid4 is raid5 but for that: its parity lies on the member that has the parity of the raid4 slabs there
  are, of all volumes: they share slabs. Where only few members have room left, slabs are narrower, and as redundant: so
  members of different sizes are used up.
- *Grain*: the unit of mapping (32 KiB by default). Its bytes are dealt over k columns of `ceil(grain / k)` bytes,
  rounded up to 512, and parity is computed over exactly these: a slot holds one whole stripe. `raid/layout.py`
  chooses the widest k whose padding stays under 5 %.
- *Sequence number*: a u64 that counts the entries of the log's records from the pool's creation on and never repeats.
  It is the birth generation of a grain and the time in every argument below.
- *Map*: for each volume a tree of pages. A leaf entry says of one grain: slab, slot, birth, and the CRC32C of each
  4 KiB block, seeded with (volume, grain number, birth), so that a stale or misplaced block does not verify.
- *Log*: records in segments (extents mirrored on one member more than the pool's volumes may lose; so are pages, and
  what has fewer copies is written anew when such a volume is made, and after a rebuild: mirrors.py). A record is
  `header | payload | crc`; the crc covers pool, segment, sequence number and content. Kinds: BLOCKS (4 KiB blocks
  written by small requests, with payload), SWITCH (grain g is now at slot s, with its CRCs; no payload), ZERO (blocks
  or grains that are trimmed), FLUSHED (all records below n had been made durable; part of the next record, if any).
- *Checkpoint*: dirty pages are written to new space, everything is made durable, then one *commit record* is written
  to the ring on every member: number, hash of its parent, the newest number known to be durable on all members, member
  table with states, roots, where the log begins, crc. A number is bound to its bytes for ever: a record that only some
  members have is written to the others, with the same bytes, before there is another one.

# Reading
A block's newest content is: its newest live BLOCKS or ZERO record if there is one (in-memory index), else its grain's
slot, else zeros. A log block of sequence n is *live* if n is greater than the birth of its grain's map entry. So
segments may retire in any order: the newest record of a block is live, or an entry with a later birth is in the map.

# Writing, healthy or degraded (they do not differ)
Small: the blocks are appended to the log's segment, on all its copies, then answered. A request that does not cover
whole blocks is completed from the newest content first. Large: whole grains are written to new slots (data and
parity), then a SWITCH record is appended, then answered. Destaging gathers a grain's live log blocks over its old
content into a new slot and appends a SWITCH; nothing else is done between gathering and SWITCH (one thread). A block
that can't be read is carried along as zeros with the complement of their CRC: it alone stays an error, and the log
does not get stuck on it. Space that a SWITCH, a ZERO or a checkpoint frees is reused only after the commit record of a
later *checkpoint* is durable on all members (other commit records still have the old roots). If a member fails a
write, it is marked *out* in a new commit record on all others before the write is answered; slots that are written
from then on leave its column out; log segments and metadata move to members that are in. A new slab or segment is used
only when every member has the record of it, and nothing is appended to a segment once a record with its end may be
anywhere.

# Rebuilding
A slab's lost column is rebuilt into a new extent on another member: from the moment this begins, new slots are
written there too; the slots in use are reconstructed there one after the other; then the slab table names the new
extent, with the next commit record. Until then reads treat the column as missing, so nothing needs to be known of how
far it came: after a crash the slab begins again. It is the same primitive, an extent at a time: read k columns, write
one. The record that makes the new member one names it as the successor of the old one, so whoever opens the pool goes
on with it; and every member's row has a hint, the path where it was last opened, because nobody else may know yet where
the new one lies. A hint is believed for nothing but where to look.

# Members that come and go
All of it is written new, then switched to. A member that leaves (*removed*) is called LEAVING in a record, so that
whoever opens the pool goes on; nothing new is put on it; slabs give the column that they have there to a member that
they are not on yet, as when they are rebuilt; where there is none, they are emptied, grain by grain, into slabs of the
others (which may be narrower); group by group, each with a checkpoint, until nothing leads to it (evacuate.py). A
member more is used by slabs that are cut from then on; `rebalance` empties the older ones that would be cut wider now
(widen.py), with a flag in the record for whoever opens the pool. A *spare* has a superblock and a row, nothing else;
the record that gives it a lost member's place makes it a member and a successor in one. To call a replacement off is to
replace the other way round.

A member that was away comes back (*writing only*, rejoin.py): its newest record, if it is one that this pool knows, has
a sequence number s, and what was born before s was durable on it: pages | fsync | record, and it was in. So only slots
born at s or later are written again, where its columns always were, while it gets new slots as well; its log segments
are given up. Then it is made durable, and a record calls it in. Nothing says so before: a crash leaves it out, with s
still true. Pages and segments that were written without it get their other copy last; an opener looks for such
(unfinished.py). Not for one whose fsync failed: its row says ENDED.

# Promises
A. *Acknowledged* = the bytes are in files' page caches before the answer. Nothing needed lives in the process alone.
B. *Completed FLUSH (or FUA)* = every member that was written to since has been fsynced, all of them, in any order.

# The crash story
Opening: the newest valid commit record is found on the members, and every other member's newest record must be in its
history; it is completed on all members, and they are fsynced (what a killed process wrote is in page caches only);
then the log is replayed from where it says, in order of sequence numbers, up to the first number that is valid on none
of the copies; then, before anybody may read, a checkpoint makes this state the only one there is. Replay applies an
unflushed SWITCH only if its grain verifies (all blocks, from what redundancy there is) and its sequence number is
above the entry's birth; one that fails this never happened. A flushed one (below the newest FLUSHED) is applied as it
is: if its grain does not verify, its blocks are errors when they are read, not silently older. What can't be read is
not what is not there: a SWITCH to columns of which too many are missing is applied, and a log of which no copy is
there is refused.

1. kill -9, anywhere. What was pwritten is in the page cache, whole or cut at any byte (a pwrite may be cut short by
   the signal between pages). An answered request has its record whole on every copy, and so below the log's end; its
   grain's columns were written before the record. So it is replayed: promise A. An unanswered one has a whole record
   or a torn one: it happened or did not, whole per record; a request split over several records may have happened in
   part, at block boundaries, which every disk may do.
2. Power loss, anywhere. Of the writes since the last fsync of each file any subset survives, each whole, lost, or
   torn at sectors. Before a completed FLUSH all was fsynced, so all its records and grains verify: promise B. Behind
   it, records are found up to the first hole. A SWITCH that survived without its grain fails verification and never
   happened; the old grain is untouched, because the space a SWITCH frees is not reused before a checkpoint. A BLOCKS
   record carries its own payload and crc. So each unflushed sector is old or new.
   What survived on one copy of a segment only, or without its parity, would be gone with the next member. So what was
   not flushed is written once more at opening: each record to all copies of its segment, each verified grain to all
   columns of its slot, in place and with the bytes that belong there. A crash in the middle of that tears what was
   torn or writes what is there. (It also makes good what an fsync that failed before the process ended left clean in
   the page cache and not on the disk.)
3. A torn log record at the end: its crc fails, the log ends there. A hole in the middle (later records survived): the
   log ends at the hole, and later segments are given up. But if a FLUSHED behind the hole says that it was durable,
   then this is damage: the pool is opened only when told to (degraded), and says so. What lies above the end is never
   mistaken for new: the record of the end is written before anything else is appended, segments are known by the
   commit record and not by what lies in them, and every opening skips 2^40 sequence numbers, more than a log holds.
4. A torn commit record: its crc fails; the one before it, in another place of the ring, is valid, and everything it
   refers to is still there (space it frees is reused only after it is durable; space the torn one frees is not reused
   yet). The ring has 16 places. Some commit records are written without waiting for them to be durable (a new slab, a
   new segment, a member out); before the 14th of these in a row everything is fsynced, so the newest durable one is
   never overwritten by one that is not. (Where fsyncs are made apart, slabs and segments wait from the 11th on, and
   leave the rest to members that are lost meanwhile.)
5. A crash during a checkpoint: new pages lie in space that the durable commit record calls free. They are forgotten.
   No record leads to them before they are durable: not even that of a member lost to the checkpoint's own fsync.
   Requests go on while its fsyncs are made (checkpoint.py): pages | fsync | record | fsync | release. What they change
   is in the log above the sequence number that the record has, which is that of the moment when the pages were written,
   and belongs to the next checkpoint: their SWITCHes are replayed, segments that became empty by them are kept, slots
   that they freed are not given back. Records written at a `|` for other reasons (a segment, a slab, a loss) have what
   the record before had, or from the third step on what this one has. A member that is lost at a `|` is called out at
   once, and the fsyncs are made again by all others before the next step. There is one round of fsyncs at a time, and a
   flush that comes during one waits for the next: of two callers only one would be told of an error.
6. A crash during replay or its checkpoint: replay changes nothing but free space and what 2. says until its commit
   record; it is begun again. Replay is a function of what is on the members, so it comes to the same state, if the
   same members are there.
7. Members lost on top, up to what a volume tolerates: the commit ring is on every member; pages and log segments have
   one copy more than may be lost; slots have their redundancy, unflushed ones since the opening (2.). The checkpoint
   at opening comes before the first read, so a copy of the log's tail that only the lost member had is either in it or
   was never shown to anybody.
8. A member fails, then the machine: the commit record that calls it out was written to all others before the write it
   missed was answered. If power is lost before that record is durable, so are (perhaps) the writes it missed, and
   what that member holds is stale at most in slots whose entries have another birth: it does not verify and is
   rebuilt.
9. A member comes back with an old commit record: the newest record calls it out. It is not written to, and not read
   from, until it is replaced. If the newest record calls it in but had a later one durable on it, it is a copy of
   another time, and refused. (A copy from between two checkpoints of a running pool can look like a member that was a
   moment late; then what is stale in it does not verify.)
10. Two heads with one parent: a member whose newest record is not in the history of the newest one, or that has
   records from after it was called out. The pool was assembled in two halves. It is refused, and both are shown.
   If only one half is there, or members that all are copies of one earlier time, nothing in them says so. For that
   there is a witness outside (fabricd): the number and hash of a record that was durable on all members that were in
   then. Members whose newest record is older, or whose record of that number is another one, are refused (stord_open).
11. Degraded, then power loss: new slots are written with the columns that are left; their parity covers the missing
   one. There is no old parity to be inconsistent with.
12. Host trouble (ENOSPC or EDQUOT; EIO on all members at once, or on so many that the log, the map or a redundant
   volume would be lost with them) is not member trouble: the pool suspends, answers nothing, forgets nothing, and goes
   on when a write succeeds. An fsync that fails, for whatever reason, ends that member for good: the kernel may have
   dropped the pages, and the next fsync would lie. If all fail at once, the pool waits until it is opened again.
   A commit record that could not be finished then is on some members, perhaps, and its number is bound: whoever asked
   for it goes on as if he had not, and the next record says so, before a flush is answered and before space is used
   that the first one leads to. A crash before that believes the first one: who is called out by it missed nothing, and
   who is called in by it missed only what was not flushed, which is written again (2.).
13. A flipped or stale block: its CRC fails, the others of its group rebuild it, the grain is written to a new slot,
   the event is counted by member and offset. Who lied is not guessed from parity: the way to compute the block that
   verifies says it, for any p columns that are out or lie together (healing.py). If it can't be rebuilt, reading that
   block, and nothing else, is an I/O error; but members that are gone are called out first, and where the pool can't do
   without them it waits. A scrub compares all columns, and all copies of pages and log: what has a
   bad one is written anew.
14. A full pool: writes are refused before they are in the log; trims never are (room.py keeps space for them, for the
   log's full length and for a second copy of the map), so every checkpoint succeeds and room can always be made.
"""

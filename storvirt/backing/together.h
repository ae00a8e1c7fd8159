/* Whole grains that lie side by side on open files: read and verified, by two threads where there are two processors.
 *
 * Knows: which bytes of a file belong where, checksums of blocks, how the work is shared.
 * Refuses to know: slabs, members, what to do about grains that are not as they should be: it says how many are.
 *
 * A job is cut into parts that stay in a processor's cache between being read and being summed up. The caller and one
 * helper take parts until none is left: a helper that comes late costs nothing, and one that does not come is not
 * missed. When a job is over nobody is inside it any more. The caller holds the GIL, so there is one job at a time; the
 * helper touches no Python object and does nothing between jobs.
 */
#ifndef STORVIRT_BACKING_TOGETHER_H
#define STORVIRT_BACKING_TOGETHER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 0x00000008
#endif

#define TOGETHER_SLOTS 64          /* of one job */
#define TOGETHER_BYTES (1u << 20)  /* the same */
#define TOGETHER_PART (128u << 10) /* an eighth: small enough for any second-level cache, and for equal shares */
#define TOGETHER_BLOCK 4096u
#define TOGETHER_COLUMNS 64
#define TOGETHER_STACK (256 << 10)

typedef uint32_t (*together_sum)(uint32_t seed, const uint8_t *data, size_t size);

typedef struct {
    int file;
    int flags;   /* of preadv2 */
    uint64_t at; /* where the first slot's piece begins */
} together_column;

typedef struct {
    together_column columns[TOGETHER_COLUMNS]; /* those that hold data, in order */
    uint32_t grain, column;                    /* bytes of a grain, and of its piece in each column */
    uint32_t count;                            /* grains */
    uint8_t *to;
    together_sum sum;
    uint32_t seeds[TOGETHER_SLOTS];                  /* of each grain */
    uint32_t sums[TOGETHER_BYTES / TOGETHER_BLOCK];  /* of each block */
    uint32_t each, parts, next;                      /* grains in a part; parts; the next to be taken */
    uint32_t good[TOGETHER_SLOTS];                   /* of each part: how many grains, from its first */
} together_job;

/* What pads a column is read to here, by anybody at any time, and never looked at: under 512 bytes for each column. */
static uint8_t together_padding[512 * TOGETHER_COLUMNS];

/* Where the bytes of one column go: `used` bytes of each of `count` grains, the first at `to`. Returns how many pieces. */
static int together_pieces(struct iovec *pieces, uint8_t *to, uint32_t count, uint32_t grain, uint32_t used, uint32_t column) {
    int n = 0;
    for (uint32_t i = 0; i < count; i++, to += grain) {
        if (n && (uint8_t *)pieces[n - 1].iov_base + pieces[n - 1].iov_len == to) {
            pieces[n - 1].iov_len += used;
        } else {
            pieces[n].iov_base = to, pieces[n++].iov_len = used;
        }
        if (used < column) pieces[n].iov_base = together_padding, pieces[n++].iov_len = column - used;
    }
    return n;
}

/* How many grains, from `first` and at most `count`, have the sums that they should have. */
static uint32_t together_verified(const together_job *job, uint32_t first, uint32_t count) {
    uint32_t blocks = job->grain / TOGETHER_BLOCK;
    for (uint32_t i = first; i < first + count; i++)
        for (uint32_t block = i * blocks; block < (i + 1) * blocks; block++)
            if (job->sum(job->seeds[i], job->to + (size_t)block * TOGETHER_BLOCK, TOGETHER_BLOCK) != job->sums[block])
                return i - first;
    return count;
}

static uint32_t together_do_part(const together_job *job, uint32_t part) {
    uint32_t first = part * job->each, count = job->count - first < job->each ? job->count - first : job->each;
    const together_column *from = job->columns;
    struct iovec pieces[2 * TOGETHER_SLOTS];
    for (uint32_t at = 0; at < job->grain; at += job->column, from++) {
        uint32_t used = job->grain - at < job->column ? job->grain - at : job->column;
        uint8_t *to = job->to + (size_t)first * job->grain + at;
        int n = together_pieces(pieces, to, count, job->grain, used, job->column);
        /* What an error or a part means (the file's end, pages that are not in memory) the other reads find out. */
        if (preadv2(from->file, pieces, n, (off_t)(from->at + (uint64_t)first * job->column), from->flags) !=
            (ssize_t)((size_t)count * job->column))
            return 0;
    }
    return together_verified(job, first, count);
}

static void together_take_parts(together_job *job) {
    uint32_t part;
    while ((part = __atomic_fetch_add(&job->next, 1, __ATOMIC_RELAXED)) < job->parts)
        job->good[part] = together_do_part(job, part);
}

/* --- the helper */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t offered, left;
    together_job *job; /* what there is to help with */
    int inside;        /* the helper is in it */
    int state;         /* 0: nobody has asked for it; 1: it is there; -1: there will be none */
} together_helper = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER, NULL, 0, 0};

static void *together_help(void *unused) {
    pthread_mutex_lock(&together_helper.lock);
    for (;;) {
        while (!together_helper.job) pthread_cond_wait(&together_helper.offered, &together_helper.lock);
        together_job *job = together_helper.job;
        together_helper.job = NULL;
        together_helper.inside = 1;
        pthread_mutex_unlock(&together_helper.lock);
        together_take_parts(job);
        pthread_mutex_lock(&together_helper.lock);
        together_helper.inside = 0;
        pthread_cond_signal(&together_helper.left);
    }
    return unused;
}

/* A child process has no helper, and the lock as it happened to be. */
static void together_forked(void) {
    pthread_mutex_init(&together_helper.lock, NULL);
    pthread_cond_init(&together_helper.offered, NULL);
    pthread_cond_init(&together_helper.left, NULL);
    together_helper.job = NULL;
    together_helper.inside = together_helper.state = 0;
}

static int together_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) ? 1 : CPU_COUNT(&set);
}

static int together_start(void) {
    static int prepared;
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    int failed;
    if (together_processors() < 2 || (!prepared && pthread_atfork(NULL, NULL, together_forked))) return -1;
    prepared = 1;
    if (pthread_attr_init(&attributes)) return -1;
    pthread_attr_setstacksize(&attributes, TOGETHER_STACK);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* signals are for the threads that wait for them */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    failed = pthread_create(&thread, &attributes, together_help, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return failed ? -1 : 1;
}

/* Does the job; returns how many grains, from the first, are in place and verified. */
static uint32_t together_read(together_job *job) {
    uint32_t part, good = 0;
    job->each = job->grain < TOGETHER_PART ? TOGETHER_PART / job->grain : 1;
    job->parts = (job->count + job->each - 1) / job->each;
    job->next = 0;
    if (job->parts > 1 && !together_helper.state) together_helper.state = together_start();
    if (job->parts == 1 || together_helper.state < 0) {
        together_take_parts(job);
    } else {
        pthread_mutex_lock(&together_helper.lock);
        together_helper.job = job;
        pthread_mutex_unlock(&together_helper.lock);
        pthread_cond_signal(&together_helper.offered);
        together_take_parts(job);
        pthread_mutex_lock(&together_helper.lock);
        together_helper.job = NULL;
        while (together_helper.inside) pthread_cond_wait(&together_helper.left, &together_helper.lock);
        pthread_mutex_unlock(&together_helper.lock);
    }
    for (part = 0; part < job->parts; part++) {
        good += job->good[part];
        if (job->good[part] < job->each) break;
    }
    return good;
}

#endif

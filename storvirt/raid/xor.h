/* XOR of equally long columns at the speed of memory, with the widest registers that the processor has.
 *
 * Knows: pointers to columns, a length that is a multiple of XOR_UNIT, no alignment.
 * Refuses to know: which column is data and which is parity.
 *
 * One body for all widths, in the compiler's vector types; xor_setup() must be called before anything else. The stores are
 * ordinary ones: past the cache they would be faster from columns of 64 KiB on (ISA-L does that), but parity is written to a
 * file right afterwards, and the columns of a usual grain are 16 KiB at the most.
 */
#ifndef STORVIRT_RAID_XOR_H
#define STORVIRT_RAID_XOR_H

#include <stddef.h>
#include <stdint.h>

#define XOR_UNIT 512

/* out may be one of the columns; otherwise nothing overlaps. */
typedef void (*xor_function)(uint8_t *out, const uint8_t *const *columns, int count, size_t size);

/* REGISTERS are summed at a time: 256 bytes of each column in turn keep the prefetcher on all of them (64 with the small
 * registers, where 8 of them halved the speed). */
#define XOR_OF_WIDTH(NAME, TARGET, BYTES, REGISTERS)                                                            \
    typedef uint64_t NAME##_vector __attribute__((vector_size(BYTES), aligned(1), may_alias));                  \
    TARGET static void NAME(uint8_t *out, const uint8_t *const *columns, int count, size_t size) {              \
        for (size_t at = 0; at < size; at += REGISTERS * BYTES) {                                               \
            NAME##_vector sum[REGISTERS];                                                                       \
            const NAME##_vector *from = (const NAME##_vector *)(columns[0] + at);                               \
            for (int i = 0; i < REGISTERS; i++) sum[i] = from[i];                                               \
            for (int column = 1; column < count; column++) {                                                    \
                from = (const NAME##_vector *)(columns[column] + at);                                           \
                for (int i = 0; i < REGISTERS; i++) sum[i] ^= from[i];                                          \
            }                                                                                                   \
            for (int i = 0; i < REGISTERS; i++) ((NAME##_vector *)(out + at))[i] = sum[i];                      \
        }                                                                                                       \
    }

XOR_OF_WIDTH(xor_generic, , 16, 4) /* SSE2 and NEON are in every processor of their kind */
#if defined(__x86_64__)
XOR_OF_WIDTH(xor_avx2, __attribute__((target("avx2"))), 32, 8)
XOR_OF_WIDTH(xor_avx512, __attribute__((target("avx512f"))), 64, 4)
#endif

/* The ways that this processor can go, the fastest last. */
#define XOR_PATHS 3
typedef struct { const char *name; xor_function run; } xor_path;
static xor_path xor_paths[XOR_PATHS];
static int xor_path_count;
static xor_function xor_best;

static void xor_offer(const char *name, xor_function run) {
    xor_paths[xor_path_count].name = name;
    xor_paths[xor_path_count++].run = xor_best = run;
}

static void xor_setup(void) {
    xor_path_count = 0;
    xor_offer("generic", xor_generic);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2")) xor_offer("avx2", xor_avx2);
    if (__builtin_cpu_supports("avx512f")) xor_offer("avx512", xor_avx512);
#endif
}

#endif

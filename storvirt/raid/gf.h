/* GF(2^8), polynomial 0x11d: parities of equally long columns, and sums of columns times constants.
 *
 * Knows: P = sum of d_i, Q = sum of g^i d_i, R = sum of g^(2i) d_i with g = 2 (what Linux md, ZFS and ISA-L's
 * gf_gen_rs_matrix have, too); pointers, lengths that are multiples of 512, no alignment; five ways to compute that agree:
 *   generic      parities in the compiler's vectors (SSE2, NEON), products from a table of 256
 *   ssse3, avx2  products by pshufb from two tables of 16, one for each half of a byte (Plank et al., FAST 2013)
 *   neon         the same by tbl
 *   gfni         every product is one affine transformation of bits, in registers of 256 or of 512 bits
 * Refuses to know: which column stands for what, and how a lost one is had from others (gf_solve.h).
 *
 * Parities are Horner's rule from the last column to the first: times 2 (R: times 4), plus the next. gf_setup() must be
 * called before anything else.
 */
#ifndef STORVIRT_RAID_GF_H
#define STORVIRT_RAID_GF_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define GF_POLYNOMIAL 0x11d
#define GF_UNIT 512
#define GF_ROWS 3 /* parities of a stripe, at most */

static uint8_t gf_exp[510];               /* g^n */
static uint8_t gf_log[256];               /* of what is not 0 */
static uint8_t gf_halves[256][2][16];     /* c * (low half), c * (high half): for pshufb and tbl */
static uint64_t gf_matrix[256];           /* the bit matrix that multiplies by c, as gf2p8affineqb takes it */

static inline uint8_t gf_mul(uint8_t a, uint8_t b) { return a && b ? gf_exp[gf_log[a] + gf_log[b]] : 0; }
static inline uint8_t gf_inverse(uint8_t a) { return gf_exp[255 - gf_log[a]]; }
/* What data column i is multiplied by in parity row 0 (P), 1 (Q), 2 (R). */
static inline uint8_t gf_coefficient(int row, int i) { return gf_exp[row * i % 255]; }

/* Rows 0 to m - 1 (m: 1 to 3) of k columns. Nothing overlaps. */
typedef void (*gf_parity_function)(const uint8_t *const *columns, int k, uint8_t *const *out, int m, size_t size);
/* out = sum of constants[i] * columns[i], one or more; out may be one of the columns, otherwise nothing overlaps. */
typedef void (*gf_sum_function)(const uint8_t *const *columns, const uint8_t *constants, int count, uint8_t *out,
                                size_t size);

/* --- parities --- */

/* TWICE and FOURFOLD multiply a register; REGISTERS of them are in work at a time. */
#define GF_PARITY(NAME, TARGET, VECTOR, REGISTERS, TWICE, FOURFOLD)                                                  \
    TARGET static void NAME(const uint8_t *const *columns, int k, uint8_t *const *out, int m, size_t size) {         \
        enum { STEP = REGISTERS * sizeof(VECTOR) };                                                                  \
        for (size_t at = 0; at < size; at += STEP) {                                                                 \
            VECTOR p[REGISTERS], q[REGISTERS], r[REGISTERS];                                                         \
            const VECTOR *from = (const VECTOR *)(columns[k - 1] + at);                                              \
            for (int i = 0; i < REGISTERS; i++) p[i] = q[i] = r[i] = from[i];                                        \
            if (m == 3)                                                                                              \
                for (int column = k - 2; column >= 0; column--) {                                                    \
                    from = (const VECTOR *)(columns[column] + at);                                                   \
                    for (int i = 0; i < REGISTERS; i++) {                                                            \
                        VECTOR d = from[i];                                                                          \
                        p[i] ^= d, q[i] = TWICE(q[i]) ^ d, r[i] = FOURFOLD(r[i]) ^ d;                                \
                    }                                                                                                \
                }                                                                                                    \
            else if (m == 2)                                                                                         \
                for (int column = k - 2; column >= 0; column--) {                                                    \
                    from = (const VECTOR *)(columns[column] + at);                                                   \
                    for (int i = 0; i < REGISTERS; i++) {                                                            \
                        VECTOR d = from[i];                                                                          \
                        p[i] ^= d, q[i] = TWICE(q[i]) ^ d;                                                           \
                    }                                                                                                \
                }                                                                                                    \
            else                                                                                                     \
                for (int column = k - 2; column >= 0; column--) {                                                    \
                    from = (const VECTOR *)(columns[column] + at);                                                   \
                    for (int i = 0; i < REGISTERS; i++) p[i] ^= from[i];                                             \
                }                                                                                                    \
            for (int i = 0; i < REGISTERS; i++) ((VECTOR *)(out[0] + at))[i] = p[i];                                 \
            if (m > 1)                                                                                               \
                for (int i = 0; i < REGISTERS; i++) ((VECTOR *)(out[1] + at))[i] = q[i];                             \
            if (m > 2)                                                                                               \
                for (int i = 0; i < REGISTERS; i++) ((VECTOR *)(out[2] + at))[i] = r[i];                             \
        }                                                                                                            \
    }

typedef int8_t gf_vector16 __attribute__((vector_size(16), aligned(1), may_alias));
typedef int8_t gf_vector32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef int8_t gf_vector64 __attribute__((vector_size(64), aligned(1), may_alias));

/* Bytes are signed: a comparison says which of them lose a bit. */
#define GF_TWICE(v) (((v) + (v)) ^ (((v) < 0) & (GF_POLYNOMIAL & 255)))
#define GF_FOURFOLD(v) ({ __typeof__(v) twice = GF_TWICE(v); GF_TWICE(twice); })
#define GF_AVX2 __attribute__((target("avx2")))
#define GF_GFNI __attribute__((target("gfni,avx2")))
#define GF_GFNI_512 __attribute__((target("gfni,avx512f,avx512bw")))

GF_PARITY(gf_parity_generic, , gf_vector16, 4, GF_TWICE, GF_FOURFOLD)
#if defined(__x86_64__)
GF_PARITY(gf_parity_avx2, GF_AVX2, gf_vector32, 4, GF_TWICE, GF_FOURFOLD)

#define GF_AFFINE(v, c) ((gf_vector32)_mm256_gf2p8affine_epi64_epi8((__m256i)(v), _mm256_set1_epi64x((int64_t)gf_matrix[c]), 0))
#define GF_TWICE_GFNI(v) GF_AFFINE(v, 2)
#define GF_FOURFOLD_GFNI(v) GF_AFFINE(v, 4)
GF_PARITY(gf_parity_gfni, GF_GFNI, gf_vector32, 4, GF_TWICE_GFNI, GF_FOURFOLD_GFNI)

#define GF_AFFINE_512(v, c) ((gf_vector64)_mm512_gf2p8affine_epi64_epi8((__m512i)(v), _mm512_set1_epi64((int64_t)gf_matrix[c]), 0))
#define GF_TWICE_512(v) GF_AFFINE_512(v, 2)
#define GF_FOURFOLD_512(v) GF_AFFINE_512(v, 4)
GF_PARITY(gf_parity_gfni_512, GF_GFNI_512, gf_vector64, 2, GF_TWICE_512, GF_FOURFOLD_512)
#endif

/* --- sums of products --- */

static void gf_sum_generic(const uint8_t *const *columns, const uint8_t *constants, int count, uint8_t *out,
                           size_t size) {
    uint8_t sum[GF_UNIT];
    for (size_t at = 0; at < size; at += GF_UNIT) {
        for (int i = 0; i < GF_UNIT; i++) sum[i] = 0;
        for (int column = 0; column < count; column++) {
            const uint8_t *from = columns[column] + at;
            const uint8_t c = constants[column];
            uint8_t products[256];
            if (c == 1) {
                for (int i = 0; i < GF_UNIT; i++) sum[i] ^= from[i];
                continue;
            }
            for (int v = 0; v < 256; v++) products[v] = gf_halves[c][0][v & 15] ^ gf_halves[c][1][v >> 4];
            for (int i = 0; i < GF_UNIT; i++) sum[i] ^= products[from[i]];
        }
        for (int i = 0; i < GF_UNIT; i++) out[at + i] = sum[i];
    }
}

/* PREPARE makes whatever a constant needs in registers, TIMES multiplies by it. */
#define GF_SUM(NAME, TARGET, VECTOR, REGISTERS, PREPARE, TIMES)                                                      \
    TARGET static void NAME(const uint8_t *const *columns, const uint8_t *constants, int count, uint8_t *out,        \
                            size_t size) {                                                                           \
        enum { STEP = REGISTERS * sizeof(VECTOR) };                                                                  \
        for (size_t at = 0; at < size; at += STEP) {                                                                 \
            VECTOR sum[REGISTERS];                                                                                   \
            for (int i = 0; i < REGISTERS; i++) sum[i] = (VECTOR){0};                                                \
            for (int column = 0; column < count; column++) {                                                         \
                const VECTOR *from = (const VECTOR *)(columns[column] + at);                                         \
                const uint8_t c = constants[column];                                                                 \
                if (c == 1) {                                                                                        \
                    for (int i = 0; i < REGISTERS; i++) sum[i] ^= from[i];                                           \
                    continue;                                                                                        \
                }                                                                                                    \
                PREPARE;                                                                                             \
                for (int i = 0; i < REGISTERS; i++) sum[i] ^= TIMES(from[i]);                                        \
            }                                                                                                        \
            for (int i = 0; i < REGISTERS; i++) ((VECTOR *)(out + at))[i] = sum[i];                                  \
        }                                                                                                            \
    }

#if defined(__x86_64__)
#define GF_PREPARE_SSSE3                                                                                             \
    const __m128i low = _mm_loadu_si128((const __m128i *)gf_halves[c][0]), mask = _mm_set1_epi8(15);                 \
    const __m128i high = _mm_loadu_si128((const __m128i *)gf_halves[c][1])
#define GF_TIMES_SSSE3(v)                                                                                            \
    ((gf_vector16)_mm_xor_si128(                                                                                     \
        _mm_shuffle_epi8(low, _mm_and_si128((__m128i)(v), mask)),                                                    \
        _mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16((__m128i)(v), 4), mask))))
GF_SUM(gf_sum_ssse3, __attribute__((target("ssse3"))), gf_vector16, 4, GF_PREPARE_SSSE3, GF_TIMES_SSSE3)

#define GF_PREPARE_AVX2                                                                                              \
    const __m256i low = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)gf_halves[c][0]));              \
    const __m256i high = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)gf_halves[c][1]));             \
    const __m256i mask = _mm256_set1_epi8(15)
#define GF_TIMES_AVX2(v)                                                                                             \
    ((gf_vector32)_mm256_xor_si256(                                                                                  \
        _mm256_shuffle_epi8(low, _mm256_and_si256((__m256i)(v), mask)),                                              \
        _mm256_shuffle_epi8(high, _mm256_and_si256(_mm256_srli_epi16((__m256i)(v), 4), mask))))
GF_SUM(gf_sum_avx2, GF_AVX2, gf_vector32, 4, GF_PREPARE_AVX2, GF_TIMES_AVX2)

#define GF_PREPARE_GFNI const __m256i times = _mm256_set1_epi64x((int64_t)gf_matrix[c])
#define GF_TIMES_GFNI(v) ((gf_vector32)_mm256_gf2p8affine_epi64_epi8((__m256i)(v), times, 0))
GF_SUM(gf_sum_gfni, GF_GFNI, gf_vector32, 4, GF_PREPARE_GFNI, GF_TIMES_GFNI)

#define GF_PREPARE_512 const __m512i times = _mm512_set1_epi64((int64_t)gf_matrix[c])
#define GF_TIMES_512(v) ((gf_vector64)_mm512_gf2p8affine_epi64_epi8((__m512i)(v), times, 0))
GF_SUM(gf_sum_gfni_512, GF_GFNI_512, gf_vector64, 4, GF_PREPARE_512, GF_TIMES_512)
#elif defined(__aarch64__)
#define GF_PREPARE_NEON                                                                                              \
    const uint8x16_t low = vld1q_u8(gf_halves[c][0]), high = vld1q_u8(gf_halves[c][1]), mask = vdupq_n_u8(15)
#define GF_TIMES_NEON(v)                                                                                             \
    ((gf_vector16)veorq_u8(vqtbl1q_u8(low, vandq_u8((uint8x16_t)(v), mask)),                                         \
                           vqtbl1q_u8(high, vshrq_n_u8((uint8x16_t)(v), 4))))
GF_SUM(gf_sum_neon, , gf_vector16, 4, GF_PREPARE_NEON, GF_TIMES_NEON)
#endif

/* --- which way --- */

#define GF_PATHS 5
typedef struct { const char *name; gf_parity_function parity; gf_sum_function sum; } gf_path;
static gf_path gf_paths[GF_PATHS];
static int gf_path_count;
static gf_path gf_best;

static void gf_offer(const char *name, gf_parity_function parity, gf_sum_function sum) {
    gf_path path = {name, parity, sum};
    gf_paths[gf_path_count++] = gf_best = path;
}

static void gf_tables(void) {
    unsigned v = 1;
    for (int n = 0; n < 510; n++) {
        gf_exp[n] = (uint8_t)v;
        if (n < 255) gf_log[v] = (uint8_t)n;
        v = v << 1 ^ (v & 128 ? GF_POLYNOMIAL : 0);
    }
    for (int c = 0; c < 256; c++) {
        for (int half = 0; half < 16; half++) {
            gf_halves[c][0][half] = gf_mul((uint8_t)c, (uint8_t)half);
            gf_halves[c][1][half] = gf_mul((uint8_t)c, (uint8_t)(half << 4));
        }
        gf_matrix[c] = 0; /* byte 7 - b: which bits of a factor go into bit b of the product */
        for (int b = 0; b < 8; b++)
            for (int bit = 0; bit < 8; bit++)
                gf_matrix[c] |= (uint64_t)(gf_mul((uint8_t)c, (uint8_t)(1 << bit)) >> b & 1) << (8 * (7 - b) + bit);
    }
}

static void gf_setup(void) {
    gf_tables();
    gf_path_count = 0;
    gf_offer("generic", gf_parity_generic, gf_sum_generic);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("ssse3")) gf_offer("ssse3", gf_parity_generic, gf_sum_ssse3);
    if (!__builtin_cpu_supports("avx2")) return;
    gf_offer("avx2", gf_parity_avx2, gf_sum_avx2);
    if (!__builtin_cpu_supports("gfni")) return;
    gf_offer("gfni", gf_parity_gfni, gf_sum_gfni);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"))
        gf_offer("gfni-avx512", gf_parity_gfni_512, gf_sum_gfni_512);
#elif defined(__aarch64__)
    gf_offer("neon", gf_parity_generic, gf_sum_neon);
#endif
}

#endif

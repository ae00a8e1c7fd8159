/* CRC-32C (Castagnoli; RFC 3720 appendix B.4), as fast as the processor allows, chosen at run time.
 *
 * Knows: one register of 32 bits and how to move it over bytes, in four ways that agree:
 *   generic  slicing by 8: eight table look-ups for 8 bytes (Kounavis and Berry, 2008)
 *   sse4.2   the crc32 instruction of x86-64, three streams at a time: it takes 3 cycles but one can begin in each
 *   arm-crc  the same with the crc32c instruction of aarch64
 *   avx512   256 bytes at a time folded by carry-less multiplication (Gopal et al., Intel 2009, in its VPCLMULQDQ form)
 * Refuses to know: what the bytes are.
 *
 * Bits are reflected: bit 0 of a register is the highest power of x. No constant of the polynomial is written down twice:
 * tables and fold constants are computed from CRC_POLYNOMIAL by crc_setup(), which must be called before anything else.
 */
#ifndef STORVIRT_RAID_CRC32C_H
#define STORVIRT_RAID_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "storvirt reads words in place: it needs a little-endian machine (x86-64, aarch64)"
#endif

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

#define CRC_POLYNOMIAL 0x82F63B78u /* 0x1EDC6F41 reflected */

/* Bytes of each of the three streams. Three long ones make 4080 of 4096 bytes, three short ones 384 of what is left. */
#define CRC_LONG 1360
#define CRC_SHORT 128

typedef uint32_t (*crc_function)(uint32_t crc, const uint8_t *p, size_t n); /* moves the register, without inversions */

static uint32_t crc_slices[8][256];
static uint32_t crc_skip_long[4][256], crc_skip_short[4][256]; /* the register after so many zero bytes */

static inline uint64_t crc_load(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static uint32_t crc_generic(uint32_t crc, const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v = crc_load(p) ^ crc;
        crc = crc_slices[7][v & 255] ^ crc_slices[6][v >> 8 & 255] ^ crc_slices[5][v >> 16 & 255] ^
              crc_slices[4][v >> 24 & 255] ^ crc_slices[3][v >> 32 & 255] ^ crc_slices[2][v >> 40 & 255] ^
              crc_slices[1][v >> 48 & 255] ^ crc_slices[0][v >> 56];
    }
    while (n--) crc = crc >> 8 ^ crc_slices[0][(crc ^ *p++) & 255];
    return crc;
}

static void crc_make_skip(uint32_t table[4][256], size_t bytes) {
    static const uint8_t zeros[CRC_LONG];
    for (int byte = 0; byte < 4; byte++)
        for (uint32_t v = 0; v < 256; v++) table[byte][v] = crc_generic(v << 8 * byte, zeros, bytes);
}

static inline uint32_t crc_skip(uint32_t table[4][256], uint32_t crc) {
    return table[0][crc & 255] ^ table[1][crc >> 8 & 255] ^ table[2][crc >> 16 & 255] ^ table[3][crc >> 24];
}

/* The two instruction sets differ in the name of the instruction only. */
#define CRC_BY_INSTRUCTION(NAME, TARGET, STEP1, STEP8)                                                      \
    TARGET static inline uint32_t NAME##_three(uint32_t crc, const uint8_t *p, size_t stream,               \
                                               uint32_t skip[4][256]) {                                     \
        uint64_t a = crc, b = 0, c = 0;                                                                     \
        for (size_t i = 0; i < stream; i += 8) {                                                            \
            a = STEP8(a, crc_load(p + i));                                                                  \
            b = STEP8(b, crc_load(p + stream + i));                                                         \
            c = STEP8(c, crc_load(p + 2 * stream + i));                                                     \
        }                                                                                                   \
        return crc_skip(skip, crc_skip(skip, (uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;                     \
    }                                                                                                       \
    TARGET static uint32_t NAME(uint32_t crc, const uint8_t *p, size_t n) {                                 \
        for (; n >= 3 * CRC_LONG; p += 3 * CRC_LONG, n -= 3 * CRC_LONG)                                     \
            crc = NAME##_three(crc, p, CRC_LONG, crc_skip_long);                                            \
        for (; n >= 3 * CRC_SHORT; p += 3 * CRC_SHORT, n -= 3 * CRC_SHORT)                                  \
            crc = NAME##_three(crc, p, CRC_SHORT, crc_skip_short);                                          \
        for (; n >= 8; p += 8, n -= 8) crc = (uint32_t)STEP8(crc, crc_load(p));                             \
        while (n--) crc = STEP1(crc, *p++);                                                                 \
        return crc;                                                                                         \
    }

#if defined(__x86_64__)
#define CRC_SSE __attribute__((target("sse4.2")))
CRC_BY_INSTRUCTION(crc_sse42, CRC_SSE, _mm_crc32_u8, _mm_crc32_u64)

#define CRC_WIDE __attribute__((target("sse4.2,pclmul,avx2,avx512f,avx512bw,avx512vl,vpclmulqdq")))
#define CRC_FOLDED 256 /* bytes in the four registers */

/* To move 16 bytes (lo, hi) by d bits is lo * x^(d + 64) + hi * x^d; 33 is what the reflected product is off by. */
typedef struct { uint64_t lo, hi; } crc_fold;
static crc_fold crc_fold_2048, crc_fold_512, crc_fold_128;

/* x^n modulo the polynomial, reflected. */
static uint32_t crc_power(unsigned n) {
    uint32_t v = 0x80000000u; /* x^0 */
    while (n--) v = (v >> 1) ^ (v & 1 ? CRC_POLYNOMIAL : 0);
    return v;
}

static crc_fold crc_make_fold(unsigned bits) {
    crc_fold k = {crc_power(bits + 64 - 33), crc_power(bits - 33)};
    return k;
}

CRC_WIDE static inline __m512i crc_move(__m512i v, crc_fold k, __m512i next) {
    __m512i by = _mm512_broadcast_i32x4(_mm_set_epi64x((long long)k.hi, (long long)k.lo));
    return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(v, by, 0x00), _mm512_clmulepi64_epi128(v, by, 0x11), next,
                                     0x96); /* a ^ b ^ c */
}

CRC_WIDE static inline __m128i crc_move_128(__m128i v, crc_fold k, __m128i next) {
    __m128i by = _mm_set_epi64x((long long)k.hi, (long long)k.lo);
    return _mm_xor_si128(_mm_xor_si128(_mm_clmulepi64_si128(v, by, 0x00), _mm_clmulepi64_si128(v, by, 0x11)), next);
}

CRC_WIDE static uint32_t crc_avx512(uint32_t crc, const uint8_t *p, size_t n) {
    if (n < 2 * CRC_FOLDED) return crc_sse42(crc, p, n);
    __m512i a = _mm512_xor_si512(_mm512_loadu_si512(p), _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
    __m512i b = _mm512_loadu_si512(p + 64), c = _mm512_loadu_si512(p + 128), d = _mm512_loadu_si512(p + 192);
    for (p += CRC_FOLDED, n -= CRC_FOLDED; n >= CRC_FOLDED; p += CRC_FOLDED, n -= CRC_FOLDED) {
        a = crc_move(a, crc_fold_2048, _mm512_loadu_si512(p));
        b = crc_move(b, crc_fold_2048, _mm512_loadu_si512(p + 64));
        c = crc_move(c, crc_fold_2048, _mm512_loadu_si512(p + 128));
        d = crc_move(d, crc_fold_2048, _mm512_loadu_si512(p + 192));
    }
    a = crc_move(crc_move(crc_move(a, crc_fold_512, b), crc_fold_512, c), crc_fold_512, d);
    __m128i v = crc_move_128(_mm512_castsi512_si128(a), crc_fold_128, _mm512_extracti32x4_epi32(a, 1));
    v = crc_move_128(v, crc_fold_128, _mm512_extracti32x4_epi32(a, 2));
    v = crc_move_128(v, crc_fold_128, _mm512_extracti32x4_epi32(a, 3));
    /* The 16 bytes that are left stand for everything so far, and the instruction reduces them. */
    crc = (uint32_t)_mm_crc32_u64(_mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(v)), (uint64_t)_mm_extract_epi64(v, 1));
    return crc_sse42(crc, p, n);
}
#elif defined(__aarch64__) && defined(__linux__)
CRC_BY_INSTRUCTION(crc_arm, __attribute__((target("+crc"))), __crc32cb, __crc32cd)
#endif

/* The ways that this processor can go, the fastest last. */
#define CRC_PATHS 3
typedef struct { const char *name; crc_function run; } crc_path;
static crc_path crc_paths[CRC_PATHS];
static int crc_path_count;
static crc_function crc_best;

static void crc_offer(const char *name, crc_function run) {
    crc_paths[crc_path_count].name = name;
    crc_paths[crc_path_count++].run = crc_best = run;
}

static void crc_setup(void) {
    for (uint32_t v = 0; v < 256; v++) {
        uint32_t crc = v;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? CRC_POLYNOMIAL : 0);
        crc_slices[0][v] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (uint32_t v = 0; v < 256; v++) {
            uint32_t crc = crc_slices[slice - 1][v];
            crc_slices[slice][v] = crc >> 8 ^ crc_slices[0][crc & 255];
        }
    crc_make_skip(crc_skip_long, CRC_LONG);
    crc_make_skip(crc_skip_short, CRC_SHORT);
    crc_path_count = 0;
    crc_offer("generic", crc_generic);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2")) return;
    crc_offer("sse4.2", crc_sse42);
    crc_fold_2048 = crc_make_fold(8 * CRC_FOLDED);
    crc_fold_512 = crc_make_fold(512);
    crc_fold_128 = crc_make_fold(128);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("vpclmulqdq"))
        crc_offer("avx512", crc_avx512);
#elif defined(__aarch64__) && defined(__linux__)
    if (getauxval(AT_HWCAP) & (1 << 7) /* HWCAP_CRC32 */) crc_offer("arm-crc", crc_arm);
#endif
}

#endif

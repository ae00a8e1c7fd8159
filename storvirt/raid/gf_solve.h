/* A column of a group as a sum of others: which ones, and times what.
 *
 * Knows: groups of d data columns and p redundant ones (gf.h's parities; where d is 1 all of these are copies, whatever
 * p is), and what is lost of them. Refuses to know: bytes.
 *
 * That up to p losses can always be made good: a lost column needs the square part of the rows 1, g^i, g^(2i) that stands
 * in the rows taken and in the lost data columns to have an inverse. Of one row and of the rows (0, 1), (0, 2) and
 * (0, 1, 2) these are Vandermonde matrices of the different numbers g^i or (squaring is one to one) g^(2i); of the rows
 * (1, 2) it is one with its columns multiplied by g^i. None of these numbers is 0 or there twice below i = 255. The tests
 * try every pattern of losses for all widths.
 */
#ifndef STORVIRT_RAID_GF_SOLVE_H
#define STORVIRT_RAID_GF_SOLVE_H

#include "gf.h"

/* What data column i is multiplied by in redundant column `row`: of copies always 1. */
static inline uint8_t gf_factor(int d, int row, int i) { return d == 1 ? 1 : gf_coefficient(row, i); }

/* Solves sum over s of u[s] * a[s][x] = v[x], u in v's place. Returns 0 where there is no answer. Fewer equations than
 * GF_ROWS are filled up with u[s] = 0. */
static int gf_eliminate(uint8_t a[GF_ROWS][GF_ROWS], uint8_t v[GF_ROWS]) {
    for (int step = 0; step < GF_ROWS; step++) {
        int pivot = step;
        while (pivot < GF_ROWS && !a[step][pivot]) pivot++;
        if (pivot == GF_ROWS) return 0;
        uint8_t inverse = gf_inverse(a[step][pivot]), value = gf_mul(v[pivot], inverse);
        v[pivot] = v[step], v[step] = value;
        for (int s = 0; s < GF_ROWS; s++) {
            uint8_t scaled = gf_mul(a[s][pivot], inverse);
            a[s][pivot] = a[s][step], a[s][step] = scaled;
        }
        for (int x = 0; x < GF_ROWS; x++) {
            uint8_t times = a[step][x];
            if (x == step || !times) continue;
            for (int s = 0; s < GF_ROWS; s++) a[s][x] ^= gf_mul(times, a[s][step]);
            v[x] ^= gf_mul(times, v[step]);
        }
    }
    return 1;
}

/* Column `wanted` (0 to d - 1: data; d to d + p - 1: redundant) from columns of which `lost` has no bit: sources and
 * constants get at most d of them, in any order. Returns how many; 0 where too much is lost. `wanted` counts as lost. */
static int gf_solve(int d, int p, int wanted, uint64_t lost, uint8_t *sources, uint8_t *constants) {
    uint8_t v[256], a[GF_ROWS][GF_ROWS] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, u[GF_ROWS] = {0, 0, 0};
    int gone[GF_ROWS], rows[GF_ROWS], need = 0, have = 0, count = 0;
    lost |= (uint64_t)1 << wanted;
    for (int i = 0; i < d; i++) {
        v[i] = wanted < d ? i == wanted : gf_factor(d, wanted - d, i); /* of the data columns, were they all there */
        if (!(lost >> i & 1)) continue;
        if (need == GF_ROWS) return 0;
        gone[need++] = i;
    }
    for (int row = 0; row < p && have < need; row++)
        if (!(lost >> (d + row) & 1)) rows[have++] = row;
    if (have < need) return 0;
    for (int x = 0; x < need; x++) {
        u[x] = v[gone[x]];
        for (int s = 0; s < need; s++) a[s][x] = gf_factor(d, rows[s], gone[x]);
    }
    /* With P alone (and of copies) the answer is there already, for its factors are 1. */
    if (need && (need > 1 || a[0][0] != 1) && !gf_eliminate(a, u)) return 0;
    for (int s = 0; s < need; s++) {
        if (!u[s]) continue;
        sources[count] = (uint8_t)(d + rows[s]), constants[count++] = u[s];
    }
    for (int i = 0; i < d; i++) {
        uint8_t times = v[i];
        if (lost >> i & 1) continue;
        for (int s = 0; s < need; s++) times ^= gf_mul(u[s], gf_factor(d, rows[s], i));
        if (times) sources[count] = (uint8_t)i, constants[count++] = times;
    }
    return count;
}

#endif

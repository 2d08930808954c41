// Partial rows of the attention kernels. Generated from ../src/attention/accumulators.rs, which declares them;
// its test compares this file and says how to write it anew.
#pragma once

#define SHARP_KEYS 8 // rows with fewer keys do not count towards sharpness

enum {
    FORWARD_SQUARES, // sum of S^2
    FORWARD_CENTRED, // sum of the squares of the row-centred S
    FORWARD_ENTROPY, // sum of H / ln(keys) over rows with at least 2 keys
    FORWARD_TOP1, // sum over rows of the largest weight
    FORWARD_SHARPNESS, // sum of 1 - H / ln(keys) over rows with at least 8 keys
    FORWARD_DISTANCE, // sum over rows i of i - j, j the key of the largest logit, the earliest of several
    FORWARD_LOGITS, // sum of S
    FORWARD_QUERY, // sum of |q|^2 over tokens
    FORWARD_KEY, // sum of |k|^2 over tokens
    FORWARD_PAIRED_QUERY, // sum of |q|^2 over causal pairs
    FORWARD_PAIRED_KEY, // sum of |k|^2 over causal pairs
    FORWARD_TOP, // largest S
    FORWARD_DEPTH, // largest -S
    FORWARD_BRACKET, // worst violation of the bracket (2.5)
    FORWARD_STATS, // numbers of a partial row
    FORWARD_SUMS = 11 // of which so many, the first, are sums, the others maxima
};

enum {
    BACKWARD_SQUARES, // sum of G_S^2
    BACKWARD_PRODUCT, // sum of (S - c) G_S, c = LSE - ln(keys) of the row
    BACKWARD_STATS, // numbers of a partial row
    BACKWARD_SUMS = 2 // of which so many, the first, are sums, the others maxima
};

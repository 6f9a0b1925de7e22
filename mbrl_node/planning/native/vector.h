// Vectors of L floats, one lane a sample, and the functions of them that a rollout needs.
//
// Written with the compiler's own vector type, so that one source serves every instruction set; the
// few intrinsics below are worth their lines.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#if defined(__AVX512F__)
constexpr int L = 16;
#else
constexpr int L = 8;
#endif

typedef float vf __attribute__((vector_size(4 * L)));
typedef int32_t vi __attribute__((vector_size(4 * L)));
typedef uint32_t vu __attribute__((vector_size(4 * L)));

static inline vf splat(float x) { return x - vf{}; }
static inline vi bits(vf x) { return (vi)x; }
static inline vf floats(vi x) { return (vf)x; }
static inline vf absolute(vf x) { return floats(bits(x) & 0x7fffffff); }
// Where x is NaN these give x.
static inline vf at_least(vf x, float low) { return x < low ? splat(low) : x; }
static inline vf at_most(vf x, float high) { return x > high ? splat(high) : x; }

static inline vf nearest(vf x) {  // the nearest whole number, |x| < 2^22
    const float magic = 12582912.0f;
    return (x + magic) - magic;
}

static inline vf root(vf x) {
    for (int i = 0; i < L; ++i) x[i] = __builtin_sqrtf(x[i]);
    return x;
}

// 2^f for f in [0, 1): minimax polynomials with relative errors of 8e-8, and of 2e-3, which is half of
// what bf16 rounds off; of a sigmoid it is 4e-4 at most.
template <bool ROUGH>
static inline vf exp2_fraction(vf f) {
    if constexpr (ROUGH) return (0.33718943f * f + 0.65763637f) * f + 1.00172473f;
    vf p = 1.87757669e-3f * f + 8.98934063e-3f;
    p = p * f + 5.58263175e-2f;
    p = p * f + 2.40153611e-1f;
    p = p * f + 6.93153083e-1f;
    return p * f + 9.99999940e-1f;
}

// 2^t, t at most 126.
template <bool ROUGH = false>
static inline vf exp2_of(vf t) {
#if defined(__AVX512F__)
    // What is rough need not be bounded: nothing is done with an infinity but 1 / (1 + inf). Where t
    // is NaN, min gives its second operand.
    const __m512 x = ROUGH ? (__m512)t : _mm512_min_ps(_mm512_set1_ps(126.0f), (__m512)t);
    const __m512 f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    return (vf)_mm512_scalef_ps((__m512)exp2_fraction<ROUGH>((vf)f), x);
#else
    t = at_most(at_least(t, -126.0f), 126.0f);
    vf whole = nearest(t);
    whole = whole > t ? whole - 1.0f : whole;
    const vi exponent = __builtin_convertvector(whole, vi) << 23;
    return floats(bits(exp2_fraction<ROUGH>(t - whole)) + exponent);
#endif
}

template <bool ROUGH = false>
static inline vf inverse(vf x) {  // 1 / x of what is at least 1
#if defined(__AVX512F__)
    const vf r = (vf)_mm512_rcp14_ps((__m512)x);
    if constexpr (ROUGH) return r;
    return r * (2.0f - x * r);
#elif defined(__AVX2__)
    const vf r = (vf)_mm256_rcp_ps((__m256)x);
    return r * (2.0f - x * r);
#else
    return 1.0f / x;
#endif
}

constexpr float LOG2E = 1.44269504088896341f;

static inline vf exponential(vf x) { return exp2_of(x * LOG2E); }

template <bool ROUGH = false>
static inline vf sigmoid(vf x) {
    return inverse<ROUGH>(1.0f + exp2_of<ROUGH>(x * -LOG2E));
}

static inline vf logarithm(vf x) {  // natural, of normal positive numbers (Cephes)
    vi exponent = ((bits(x) >> 23) & 0xff) - 126;
    vf m = floats((bits(x) & 0x007fffff) | 0x3f000000);  // [0.5, 1)
    const vi small = m < 0.70710678f;
    exponent += small;  // -1 where true
    m = (small ? m + m : m) - 1.0f;
    const vf e = __builtin_convertvector(exponent, vf), z = m * m;
    vf p = 7.0376836292e-2f * m - 1.1514610310e-1f;
    p = p * m + 1.1676998740e-1f;
    p = p * m - 1.2420140846e-1f;
    p = p * m + 1.4249322787e-1f;
    p = p * m - 1.6668057665e-1f;
    p = p * m + 2.0000714765e-1f;
    p = p * m - 2.4999993993e-1f;
    p = p * m + 3.3333331174e-1f;
    return m + (p * m * z - 2.12194440e-4f * e - 0.5f * z) + 0.693359375f * e;
}

static inline vf softplus(vf x) {
    const vf positive = x > 0.0f ? x : x * 0.0f;
    return positive + logarithm(1.0f + exponential(-absolute(x)));
}

// Sine and cosine for |x| up to about 1e4 (Cephes; the reduction in three parts). Beyond, and for
// what is not finite, NaN would be as good an answer.
static inline void sine_cosine(vf x, vf &sine, vf &cosine) {
    const vf turns = nearest(x * 0.63661977236758134f);  // quarter turns
    vf r = x - turns * 1.5703125f;
    r -= turns * 4.837512969970703125e-4f;
    r -= turns * 7.549789948768648e-8f;
    const vf z = r * r;
    const vf s = ((-1.9515295891e-4f * z + 8.3321608736e-3f) * z - 1.6666654611e-1f) * z * r + r;
    const vf c = ((2.443315711809948e-5f * z - 1.388731625493765e-3f) * z + 4.166664568298827e-2f) * z * z -
                 0.5f * z + 1.0f;
    const vf bounded = at_most(at_least(turns, -1e9f), 1e9f);
    const vi q = __builtin_convertvector(bounded, vi);
    const vi swap = (q & 1) != 0;
    const vi sine_sign = (q & 2) << 30, cosine_sign = ((q + 1) & 2) << 30;
    sine = floats(bits(swap ? c : s) ^ sine_sign);
    cosine = floats(bits(swap ? s : c) ^ cosine_sign);
}

static inline vf wrapped(vf x) {  // an angle within (-pi, pi]
    const vf turns = nearest(x * 0.15915494309189535f);
    vf r = x - turns * 6.28125f;
    r -= turns * 1.9350051879882812e-3f;
    r -= turns * 3.0199159795074593e-7f;
    return r <= -3.14159265f ? r + 6.28318531f : r;
}

// ---------------------------------------------------------------------------------- activations

enum Activation { IDENTITY, SILU, RELU, TANH, GELU, LEAKY_RELU, ELU };

// ROUGH: the result is rounded to bf16 anyway. SILU comes as -log2(e) x and goes as -log2(e) times what
// it is; the weights before and after make up for it.
template <Activation A, bool ROUGH>
static inline vf activate(vf x) {
    if constexpr (A == SILU) return x * inverse<ROUGH>(1.0f + exp2_of<ROUGH>(x));
    if constexpr (A == RELU) return x < 0.0f ? vf{} : x;
    if constexpr (A == TANH) return 2.0f * sigmoid<ROUGH>(2.0f * x) - 1.0f;
    if constexpr (A == LEAKY_RELU) return x < 0.0f ? 0.01f * x : x;
    if constexpr (A == ELU) return x < 0.0f ? exponential(x) - 1.0f : x;
    if constexpr (A == GELU) {  // erf by Abramowitz and Stegun 7.1.26, within 1.5e-7
        const vf z = absolute(x) * 0.70710678118654752f;
        const vf t = inverse(1.0f + 0.3275911f * z);
        vf p = 1.061405429f * t - 1.453152027f;
        p = p * t + 1.421413741f;
        p = p * t - 0.284496736f;
        p = p * t + 0.254829592f;
        const vf tail = 0.5f * p * t * exponential(-z * z);  // (1 - erf z) / 2
        return x * (x < 0.0f ? tail : 1.0f - tail);
    }
    return x;
}

// One layer of a network for a block of samples: a matrix product and the activation.
//
// A block has R vectors of L samples. What goes into a layer is a matrix of 32-bit cells, [cells][R L]:
// an fp32 number, or in bf16 the two neurons 2 i (low half) and 2 i + 1 of a sample. This is the order
// that AMX and AVX512-BF16 want, so that a layer's result is the next one's input as it is.
#pragma once

#include "vector.h"

// How weights are laid out: `GROUP` neurons at a time, [neurons / GROUP][cells][GROUP]; for AMX in
// tiles [neurons / 16][cells / 16][16 neurons][16 cells].
constexpr int GROUP = 12;

struct Layer {
    const uint32_t *weights;  // of member 0
    const float *bias;        // [members][padded]; for AMX [members][padded][16], all 16 the same
    int64_t member_weights;   // cells of weights a member
    int32_t cells;            // of the input
    int32_t neurons;          // of the output
    int32_t padded;           // neurons there is room for: whole groups or tiles
    int32_t reserved;
};

#if defined(USE_AMX) || defined(USE_BF16)
constexpr bool BF16 = true;
#else
constexpr bool BF16 = false;
#endif

// The most vectors in a block: with more, the inputs of a wide fp32 layer leave the first cache.
#if defined(__AVX512F__) && !defined(USE_AMX)
constexpr int MOST = 2;
#else
constexpr int MOST = 4;
#endif

// A product reads so many cells at a time: what there are too few of is filled with zeros, as weights
// of zero do not make up for NaN.
#if defined(USE_AMX)
constexpr int STEP = 16;
#else
constexpr int STEP = 1;
#endif

static inline vf *row(uint32_t *cells, int r, int i) { return (vf *)(cells + (int64_t)i * r * L); }
static inline const vf *row(const uint32_t *cells, int r, int i) { return (const vf *)(cells + (int64_t)i * r * L); }

#if defined(USE_AMX) || defined(USE_BF16)
// Two vectors as one of bf16 pairs, rounded, halves up. (The processor's own conversion takes longer,
// on the port that the tiles need.)
static inline vf pack(vf even, vf odd) {
    return (vf)((((vu)odd + 0x8000u) & 0xffff0000u) | (((vu)even + 0x8000u) >> 16));
}

// A number as the sum of two of bf16, in one cell: it enters a product with 16 bits of mantissa.
static inline vf as_input(vf x) {
    const vf high = (vf)(((vu)x + 0x8000u) & 0xffff0000u);
    return pack(high, x - high);
}
#else
static inline vf as_input(vf x) { return x; }
#endif

#if !defined(USE_AMX)

#if defined(USE_BF16)
static inline void multiply_add(vf &sum, vf x, const uint32_t *weight) {
    sum = (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32((int)*weight), (__m512bh)x);
}
#else
static inline void multiply_add(vf &sum, vf x, const uint32_t *weight) {
    float w;
    memcpy(&w, weight, 4);
    sum += x * w;
}
#endif

// J neurons of V vectors of samples: as many sums as there are registers for, so that each number
// that is loaded is used often.
template <int J, int V, int R, Activation A>
static inline void neurons(const uint32_t *in, const uint32_t *weights, const float *bias, int cells,
                           uint32_t *out, bool last) {
    vf sum[J][V];
#pragma GCC unroll 12
    for (int j = 0; j < J; ++j)
        for (int v = 0; v < V; ++v) sum[j][v] = splat(bias[j]);
    for (int i = 0; i < cells; ++i) {
        vf x[V];
        for (int v = 0; v < V; ++v) x[v] = row(in, R, i)[v];
#pragma GCC unroll 12
        for (int j = 0; j < J; ++j)
            for (int v = 0; v < V; ++v) multiply_add(sum[j][v], x[v], weights + (int64_t)i * GROUP + j);
    }
    // Through memory: else some compilers keep the sums there all the time, to have registers for
    // the activation.
    vf sums[J * V];
    for (int i = 0; i < J * V; ++i) sums[i] = sum[i / V][i % V];
    asm volatile("" : "+m"(sums));
    if (last || !BF16)
        for (int i = 0; i < J * V; ++i)
            row(out, R, i / V)[i % V] = last ? sums[i] : activate<A, false>(sums[i]);
#if defined(USE_BF16)
    else
        for (int j = 0; j < J; j += 2)
            for (int v = 0; v < V; ++v)
                row(out, R, j / 2)[v] =
                    pack(activate<A, true>(sums[j * V + v]), activate<A, true>(sums[j * V + V + v]));
#endif
}

// `last`: no activation, and the result is fp32.
template <int R, Activation A>
static void layer(const Layer &it, int member, const uint32_t *in, uint32_t *out, bool last) {
#if defined(__AVX512F__)
    constexpr int V = R, J = 12;  // of 32 registers
#else
    constexpr int V = R % 2 ? 1 : 2, J = 12 / V;  // of 16
#endif
    const uint32_t *weights = it.weights + member * it.member_weights;
    const float *bias = it.bias + (int64_t)member * it.padded;
    for (int j = 0; j < it.neurons; j += J) {
        const uint32_t *group = weights + (int64_t)(j / GROUP) * it.cells * GROUP + j % GROUP;
        uint32_t *to = out + (int64_t)(last || !BF16 ? j : j / 2) * R * L;
        for (int v = 0; v < R; v += V)
            neurons<J, V, R, A>(in + v * L, group, bias + j, it.cells, to + v * L, last);
    }
}

struct Tiles {};  // nothing to set up

#else  // USE_AMX

template <int C, int A, int B>
static inline void tile_product() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(C), "i"(A), "i"(B));
}
template <int T>
static inline void tile_load(const void *from, int64_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride), "i"(T) : "memory");
}
template <int T>
static inline void tile_store(void *to, int64_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride), "i"(T) : "memory");
}

// All eight tiles have 16 rows of 64 bytes, while this lives.
struct Tiles {
    Tiles() {
        alignas(64) uint8_t config[64] = {1};
        for (int t = 0; t < 8; ++t) config[16 + 2 * t] = 64, config[48 + t] = 16;
        asm volatile("ldtilecfg %0" ::"m"(config));
    }
    ~Tiles() { asm volatile("tilerelease"); }
};

// Tiles 0 to 3: sums of 16 neurons and 16 samples each, beginning with the bias; 4: weights; 5 to 7:
// inputs. In between, the sums before get their activation and are packed: a product keeps one port of
// the processor busy and leaves the others free. But for the last layer, the rows of weights stand in
// the order 0, 2, ... 14, 1, 3, ... 15, so that the two neurons of a cell are 8 rows apart.
template <int R, Activation A>
static void layer(const Layer &it, int member, const uint32_t *in, uint32_t *out, bool last) {
    constexpr int64_t STRIDE = R * L * 4;
    constexpr int PAIRS = 8 * R;  // of vectors in a block of 16 neurons
    alignas(64) vf sums[2][2 * PAIRS];
    const uint32_t *weights = it.weights + member * it.member_weights;
    const float *bias = it.bias + (int64_t)member * it.padded * L;
    const int steps = (it.cells + 15) / 16, blocks = (it.neurons + 15) / 16;
    const int each = (PAIRS + steps - 1) / steps;
    const vf *from = sums[1];
    vf *to = (vf *)out;
    const auto finish = [&](int pairs) {
        if (last)
            for (const vf *end = from + 2 * pairs; from < end;) *to++ = *from++;
        else
            for (const vf *end = from + pairs; from < end; ++from)
                *to++ = pack(activate<A, true>(from[0]), activate<A, true>(from[PAIRS]));
    };
    for (int block = 0; block < blocks; ++block, bias += 16 * L) {
        int left = block ? PAIRS : 0;
        tile_load<0>(bias, 64);
        if constexpr (R > 1) tile_load<1>(bias, 64);
        if constexpr (R > 2) tile_load<2>(bias, 64);
        if constexpr (R > 3) tile_load<3>(bias, 64);
        const uint32_t *x = in;
        for (int k = 0; k < steps; ++k, weights += 256, x += 16 * R * L) {
            tile_load<4>(weights, 64);
            tile_load<5>(x, STRIDE);
            tile_product<0, 4, 5>();
            if constexpr (R > 1) tile_load<6>(x + L, STRIDE), tile_product<1, 4, 6>();
            if constexpr (R > 2) tile_load<7>(x + 2 * L, STRIDE), tile_product<2, 4, 7>();
            if constexpr (R > 3) tile_load<5>(x + 3 * L, STRIDE), tile_product<3, 4, 5>();
            finish(left < each ? left : each);
            left -= left < each ? left : each;
        }
        vf *store = sums[block & 1];
        tile_store<0>(store, STRIDE);
        if constexpr (R > 1) tile_store<1>(store + 1, STRIDE);
        if constexpr (R > 2) tile_store<2>(store + 2, STRIDE);
        if constexpr (R > 3) tile_store<3>(store + 3, STRIDE);
        from = store;
    }
    finish(PAIRS);
    if (!last && blocks % 2) memset(to, 0, PAIRS * sizeof(vf));
}

#endif

// What every kernel shares: storage types, vector access, deterministic reductions, activations.
//
// Self-contained on purpose: no CUDA or host header, so that nvcc and NVRTC compile it alike. Under
// GROWTHPATH_EMULATION (the host emulator, ../emu) the same source is compiled by a C++ compiler; everything that
// has no portable spelling is behind one macro or one small function that has a second definition there.
//
// Conventions
// - Storage is float or bf16, arithmetic is float32; parameters (gains, biases, tables) and statistics are float32.
// - Reductions are two-pass: a kernel leaves one partial row a block, `reduce_partials` adds them in a fixed order
//   in float64. No float atomics: the same inputs give the same bits, launch after launch.
// - Block sizes are multiples of 32.
#pragma once

typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned long long u64;

#ifndef GROWTHPATH_EMULATION
// SHARED(name, type): a block's shared variable; the emulator allocates, poisons and bounds-checks each of them.
#define SHARED(name, ...) __shared__ __align__(16) __VA_ARGS__ name
#endif

template <class T, int N>
using Array = T[N];

// A condition known when compiling, to hand to a generic lambda.
template <bool B>
struct Flag {
    static constexpr bool value = B;
};

// Calls body(Group<ROWS>, r) for rows first, first + step, ... below `rows`, ROWS of them at a time: the body's loads for a
// whole group are then under way together. What is left over comes one at a time; the order is that of the rows.
template <int N>
struct Group {
    static constexpr int rows = N;
};
template <int ROWS, class Body>
__device__ __forceinline__ void for_groups(int first, int rows, int step, const Body& body) {
    int r = first;
    for (; r + (ROWS - 1) * step < rows; r += ROWS * step) body(Group<ROWS>(), r);
    for (; r < rows; r += step) body(Group<1>(), r);
}

#define FULL_WARP 0xffffffffu
#define WARP 32

__device__ __forceinline__ float infinity() { return __int_as_float(0x7f800000); }
__device__ __forceinline__ float not_a_number() { return __int_as_float(0x7fffffff); }

// --- storage types ---------------------------------------------------------------------------------------------

// The upper half of a float32: the same bits as __nv_bfloat16.
struct __align__(2) bf16 {
    u16 bits;
};

// Two floats, rounded to nearest even, as a register of two bf16: `lo` in the lower half.
__device__ __forceinline__ u32 pack_bf16(float lo, float hi) {
#ifdef GROWTHPATH_EMULATION
    return emu::bf16_bits(lo) | static_cast<u32>(emu::bf16_bits(hi)) << 16;
#else
    u32 r;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(r) : "f"(hi), "f"(lo));
    return r;
#endif
}

__device__ __forceinline__ float low_bf16(u32 pair) { return __int_as_float(static_cast<int>(pair << 16)); }
__device__ __forceinline__ float high_bf16(u32 pair) { return __int_as_float(static_cast<int>(pair & 0xffff0000u)); }

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) { return __int_as_float(static_cast<int>(static_cast<u32>(x.bits) << 16)); }

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
    return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
    bf16 r;
    r.bits = static_cast<u16>(pack_bf16(x, 0.f) & 0xffffu);
    return r;
}

// Four neighbours at an address that is a multiple of four elements.
__device__ __forceinline__ void load4(const float* p, float (&v)[4]) {
    const float4 q = *reinterpret_cast<const float4*>(p);
    v[0] = q.x, v[1] = q.y, v[2] = q.z, v[3] = q.w;
}
__device__ __forceinline__ void load4(const bf16* p, float (&v)[4]) {
    const uint2 q = *reinterpret_cast<const uint2*>(p);
    v[0] = low_bf16(q.x), v[1] = high_bf16(q.x), v[2] = low_bf16(q.y), v[3] = high_bf16(q.y);
}
__device__ __forceinline__ void store4(float* p, const float (&v)[4]) {
    float4 q;
    q.x = v[0], q.y = v[1], q.z = v[2], q.w = v[3];
    *reinterpret_cast<float4*>(p) = q;
}
__device__ __forceinline__ void store4(bf16* p, const float (&v)[4]) {
    uint2 q;
    q.x = pack_bf16(v[0], v[1]), q.y = pack_bf16(v[2], v[3]);
    *reinterpret_cast<uint2*>(p) = q;
}

// Eight neighbours at an address that is a multiple of eight elements.
__device__ __forceinline__ void load8(const float* p, float (&v)[8]) {
    const float4 a = *reinterpret_cast<const float4*>(p), b = *reinterpret_cast<const float4*>(p + 4);
    v[0] = a.x, v[1] = a.y, v[2] = a.z, v[3] = a.w, v[4] = b.x, v[5] = b.y, v[6] = b.z, v[7] = b.w;
}
__device__ __forceinline__ void load8(const bf16* p, float (&v)[8]) {
    const uint4 q = *reinterpret_cast<const uint4*>(p);
    v[0] = low_bf16(q.x), v[1] = high_bf16(q.x), v[2] = low_bf16(q.y), v[3] = high_bf16(q.y);
    v[4] = low_bf16(q.z), v[5] = high_bf16(q.z), v[6] = low_bf16(q.w), v[7] = high_bf16(q.w);
}
__device__ __forceinline__ void store8(float* p, const float (&v)[8]) {
    float4 a, b;
    a.x = v[0], a.y = v[1], a.z = v[2], a.w = v[3], b.x = v[4], b.y = v[5], b.z = v[6], b.w = v[7];
    *reinterpret_cast<float4*>(p) = a, *reinterpret_cast<float4*>(p + 4) = b;
}
__device__ __forceinline__ void store8(bf16* p, const float (&v)[8]) {
    uint4 q;
    q.x = pack_bf16(v[0], v[1]), q.y = pack_bf16(v[2], v[3]), q.z = pack_bf16(v[4], v[5]), q.w = pack_bf16(v[6], v[7]);
    *reinterpret_cast<uint4*>(p) = q;
}

// As many neighbours as the array holds: four, or eight (sixteen bytes of bf16).
template <class T>
__device__ __forceinline__ void load(const T* p, float (&v)[4]) {
    load4(p, v);
}
template <class T>
__device__ __forceinline__ void load(const T* p, float (&v)[8]) {
    load8(p, v);
}
template <class T>
__device__ __forceinline__ void store(T* p, const float (&v)[4]) {
    store4(p, v);
}
template <class T>
__device__ __forceinline__ void store(T* p, const float (&v)[8]) {
    store8(p, v);
}

#define LOG2_E 1.44269504f
#define LN_2 0.693147181f

// 2^x, to 2^-22 of its size; subnormal results are zero.
__device__ __forceinline__ float exp2_fast(float x) {
#ifdef GROWTHPATH_EMULATION
    return exp2f(x);
#else
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// exp(x), exp(x - from) and 1 / x, to a few 1e-7 (1 + |x|) where the result is rounded to bf16's 4e-3 anyway.
template <class T>
__device__ __forceinline__ float exponential(float x) {
    return expf(x);
}
template <>
__device__ __forceinline__ float exponential<bf16>(float x) {
    return exp2_fast(LOG2_E * x);
}
template <class T>
__device__ __forceinline__ float exponential_from(float x, float from) {
    return expf(x - from);
}
template <>
__device__ __forceinline__ float exponential_from<bf16>(float x, float from) {
    return exp2_fast(fmaf(LOG2_E, x, -LOG2_E * from));
}
template <class T>
__device__ __forceinline__ float reciprocal(float x) {
    return 1.f / x;
}
template <>
__device__ __forceinline__ float reciprocal<bf16>(float x) {
#ifdef GROWTHPATH_EMULATION
    return 1.f / x;
#else
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
#endif
}

// What storing to T and loading again makes of x: statistics describe the stored values, not the ones before.
template <class T>
__device__ __forceinline__ float stored(float x) {
    return to_float(from_float<T>(x));
}

// --- reductions ------------------------------------------------------------------------------------------------

__device__ __forceinline__ float warp_sum(float v) {
    for (int o = WARP / 2; o > 0; o >>= 1) v += __shfl_xor_sync(FULL_WARP, v, o);
    return v;
}
__device__ __forceinline__ float warp_max(float v) {
    for (int o = WARP / 2; o > 0; o >>= 1) v = fmaxf(v, __shfl_xor_sync(FULL_WARP, v, o));
    return v;
}
// fmaxf drops NaN; a statistic that hides one would be a lie.
__device__ __forceinline__ float loud_max(float a, float b) { return a != a || b != b ? not_a_number() : fmaxf(a, b); }
__device__ __forceinline__ float loud_warp_max(float v) {
    for (int o = WARP / 2; o > 0; o >>= 1) v = loud_max(v, __shfl_xor_sync(FULL_WARP, v, o));
    return v;
}

// Sums each of v over the block; every thread gets the totals. `scratch` holds N * 32 floats and is free again on
// return. The order of additions depends on the block size alone.
template <int N>
__device__ __forceinline__ void block_sum(float (&v)[N], float* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    for (int i = 0; i < N; i++) {
        const float w = warp_sum(v[i]);
        if (lane == 0) scratch[i * WARP + warp] = w;
    }
    __syncthreads();
    for (int i = 0; i < N; i++) v[i] = warp_sum(lane < warps ? scratch[i * WARP + lane] : 0.f);
    __syncthreads();
}

// Largest v of the block, NaN if there is one; every thread gets it. `scratch` holds 32 floats, free again on return.
__device__ __forceinline__ float block_max(float v, float* scratch) {
    const int lane = threadIdx.x & 31, warp = threadIdx.x >> 5, warps = blockDim.x >> 5;
    v = loud_warp_max(v);
    if (lane == 0) scratch[warp] = v;
    __syncthreads();
    v = loud_warp_max(lane < warps ? scratch[lane] : -infinity());
    __syncthreads();
    return v;
}

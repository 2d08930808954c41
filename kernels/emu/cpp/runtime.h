// Host definitions of what a .cu file uses, so that a C++ compiler takes it unmodified. Threads of a block are fibers
// of one OS thread, switched only at barriers and warp collectives; blocks run one after another.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __grid_constant__
#define __align__(n) alignas(n)

struct dim3 {
    unsigned x = 1, y = 1, z = 1;
};
struct float2 {
    alignas(8) float x;
    float y;
};
struct float4 {
    alignas(16) float x;
    float y, z, w;
};
struct uint4 {
    alignas(16) unsigned x;
    unsigned y, z, w;
};
struct uint2 {
    alignas(8) unsigned x;
    unsigned y;
};

namespace emu {

enum class State : unsigned char { ready, at_barrier, at_collective, done };

// An asynchronous copy that a thread has started.
struct Copy {
    void* to;
    const void* from; // null: zeros
    size_t bytes;
};

struct Fiber {
    void* stack_pointer;
    char* stack;
    void* fake_stack; // the address sanitizer's, while the fiber sleeps
    dim3 thread;
    unsigned index;
    State state;
    unsigned mask;                        // of the collective it waits at
    int site;                             // source line of the barrier or collective it waits at
    alignas(16) unsigned char deposit[32]; // what it brought to the collective
    std::vector<Copy> open;                // copies since the last commit
    std::deque<std::vector<Copy>> groups;  // committed and not yet waited for
};

// One variable of shared memory: its own allocation, so that the sanitizer sees an access past its end. A part of the
// dynamic shared memory is known by its offset, and has the id -1.
struct Shared {
    int id;
    size_t offset, size;
    void* memory;
};

struct Block {
    dim3 index, block, grid;
    unsigned threads, schedule;
    size_t dynamic;  // bytes of dynamic shared memory
    uint32_t copies; // asynchronous copies started so far
    std::vector<Fiber> fibers;
    std::vector<Shared> shared;
    std::function<void()> body;
    Fiber* current;
    void* scheduler; // its stack pointer
    void* scheduler_fake;
    const void* scheduler_bottom;
    size_t scheduler_size;
    std::string error;
};

extern thread_local Block* active;

void wait(State state, int site);
[[noreturn]] void fail(const std::string& message);
void* shared_memory(int id, size_t size);
void* dynamic_shared_memory(size_t offset, size_t size);

// cp.async: the bytes move at once or when the thread waits for them, as the schedule will have it: both are allowed,
// and a kernel that counts on either goes wrong under some schedule.
void copy_async(void* to, const void* from, size_t bytes, bool present);
void copy_commit();
void copy_wait(size_t pending);

// --- warp collectives ----------------------------------------------------------------------------------------------

inline unsigned lane() { return active->current->index & 31; }
inline unsigned lanes_in_warp() { return std::min(32u, active->threads - (active->current->index & ~31u)); }

// Waits until every lane of the mask has brought its value; read them with `from`, then call `leave`.
template <class T>
inline void bring(int site, unsigned mask, const T& value) {
    static_assert(sizeof(T) <= sizeof(Fiber::deposit), "the deposit is too small");
    Fiber* me = active->current;
    if (!(mask >> lane() & 1)) fail("a lane calls a warp collective whose mask leaves it out");
    std::memcpy(me->deposit, &value, sizeof(T));
    me->mask = mask;
    wait(State::at_collective, site);
}
template <class T>
inline T from(unsigned source) {
    const Fiber* me = active->current;
    if (source >= lanes_in_warp() || !(me->mask >> source & 1)) fail("a warp collective reads a lane that takes no part in it");
    T value;
    std::memcpy(&value, active->fibers[(me->index & ~31u) + source].deposit, sizeof(T));
    return value;
}
inline void leave(int site) { wait(State::at_collective, site); }

template <class T>
inline T shuffle(int site, unsigned mask, T value, unsigned source) {
    bring(site, mask, value);
    value = from<T>(source);
    leave(site);
    return value;
}
template <class T>
inline T shfl(int site, unsigned mask, T value, int source) {
    return shuffle(site, mask, value, static_cast<unsigned>(source) & 31);
}
template <class T>
inline T shfl_xor(int site, unsigned mask, T value, int bits) {
    return shuffle(site, mask, value, lane() ^ static_cast<unsigned>(bits));
}
template <class T>
inline T shfl_down(int site, unsigned mask, T value, unsigned by) {
    return shuffle(site, mask, value, lane() + by < 32 ? lane() + by : lane());
}
inline unsigned ballot(int site, unsigned mask, int predicate) {
    bring(site, mask, predicate != 0);
    unsigned result = 0;
    for (unsigned l = 0; l < lanes_in_warp(); l++)
        if (mask >> l & 1) result |= static_cast<unsigned>(from<bool>(l)) << l;
    leave(site);
    return result;
}

// --- bf16 and matrix instructions ----------------------------------------------------------------------------------

// Round to nearest even; a NaN stays one.
inline uint16_t bf16_bits(float x) {
    uint32_t u;
    std::memcpy(&u, &x, 4);
    if (x != x) return 0x7fff;
    return static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}
inline float bf16_value(uint32_t bits) {
    const uint32_t u = bits << 16;
    float x;
    std::memcpy(&x, &u, 4);
    return x;
}

// mma.sync.m16n8k16 row.col f32.bf16.bf16.f32, by the operand layouts of the PTX manual.
void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);
// ldmatrix.sync.m8n8.x4[.trans].b16.
void ldmatrix(unsigned (&r)[4], const void* row, bool transposed);

// A place in the block's dynamic shared memory as a number, as __cvta_generic_to_shared gives it.
uint64_t shared_address(const void* place);

// An operand of wgmma, bf16, as the tensor cores find it from the 64 bits of its matrix descriptor (PTX manual): rows of
// `span` bytes, eights of them `stride` bytes apart, whatever of a row is past `span` bytes `leading` bytes on; then bits 4
// and on of an element's address are exchanged by its bits 7 and on, as many as the swizzle has.
class Matrix {
    const unsigned char* memory; // the part of shared memory that it starts in
    size_t begin, size;
    unsigned start, leading, stride, span;

  public:
    explicit Matrix(uint64_t descriptor);
    unsigned at(unsigned row, unsigned column) const;
    // Two neighbours of a row, and of a column, in one register.
    unsigned along(unsigned row, unsigned column) const { return at(row, column) | at(row, column + 1) << 16; }
    unsigned down(unsigned row, unsigned column) const { return at(row, column) | at(row + 1, column) << 16; }
};

// wgmma.mma_async.m64n(8 NT)k16.f32.bf16.bf16, done at once: the warp's part of d += a b, a [64 x 16]. TRANSPOSED: b is
// described as [16 x 8 NT], else as [8 NT x 16].
template <bool TRANSPOSED, size_t NT>
inline void group_mma(float (&d)[NT][4], const unsigned (&a)[4], uint64_t b) {
    const Matrix right(b);
    const unsigned g = lane() >> 2, t = 2 * (lane() & 3);
    for (unsigned n = 0; n < NT; n++) {
        const unsigned column = 8 * n + g;
        if (TRANSPOSED) {
            mma_16x8x16(d[n], a, right.down(t, column), right.down(t + 8, column));
        } else {
            mma_16x8x16(d[n], a, right.along(column, t), right.along(column, t + 8));
        }
    }
}
template <bool TRANSPOSED, size_t NT>
inline void group_mma(float (&d)[NT][4], uint64_t a, uint64_t b) {
    const Matrix left(a);
    const unsigned row = active->current->index / 32 % 4 * 16 + (lane() >> 2), t = 2 * (lane() & 3);
    group_mma<TRANSPOSED>(d, {left.along(row, t), left.along(row + 8, t), left.along(row, t + 8), left.along(row + 8, t + 8)}, b);
}

// --- kernels by name -----------------------------------------------------------------------------------------------

struct Argument {
    const void* value;
    size_t size;
};
struct Kernel {
    const char* name;
    std::vector<size_t> arguments; // their sizes
    std::function<std::function<void()>(const Argument*)> bind; // an empty body: an argument of the wrong size
};

template <class... A, size_t... I>
std::function<void()> bind_arguments(void (*kernel)(A...), const Argument* arguments, std::index_sequence<I...>) {
    if (((arguments[I].size != sizeof(A)) || ...)) return {};
    return [kernel, values = std::tuple<A...>(*static_cast<const A*>(arguments[I].value)...)] { kernel(std::get<I>(values)...); };
}

struct Table {
    std::vector<Kernel> kernels;
    template <class... A>
    void add(const char* name, void (*kernel)(A...)) {
        kernels.push_back({name, {sizeof(A)...}, [kernel](const Argument* arguments) { return bind_arguments(kernel, arguments, std::index_sequence_for<A...>{}); }});
    }
};
void register_all(Table& table); // generated by build.rs

} // namespace emu

#define threadIdx (emu::active->current->thread)
#define blockIdx (emu::active->index)
#define blockDim (emu::active->block)
#define gridDim (emu::active->grid)

// The source line tells call sites apart: threads that meet at different ones have diverged.
#define __syncthreads() emu::wait(emu::State::at_barrier, __LINE__)
#define __syncwarp(mask) (emu::bring(__LINE__, mask, 0), emu::leave(__LINE__))
#define __shfl_sync(...) emu::shfl(__LINE__, __VA_ARGS__)
#define __shfl_xor_sync(...) emu::shfl_xor(__LINE__, __VA_ARGS__)
#define __shfl_down_sync(...) emu::shfl_down(__LINE__, __VA_ARGS__)
#define __ballot_sync(...) emu::ballot(__LINE__, __VA_ARGS__)

#define DYNAMIC_SHARED(name, offset, ...) auto& name = *static_cast<std::remove_reference_t<__VA_ARGS__>*>(emu::dynamic_shared_memory(offset, sizeof(__VA_ARGS__)))
#define DYNAMIC_SHARED_ARRAY(name, offset, T, count) T* name = static_cast<T*>(emu::dynamic_shared_memory(offset, sizeof(T) * (count)))
#define SHARED(name, ...) auto& name = *static_cast<std::remove_reference_t<__VA_ARGS__>*>(emu::shared_memory(__COUNTER__, sizeof(__VA_ARGS__)))

inline float __expf(float x) { return expf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __int_as_float(int i) {
    float f;
    std::memcpy(&f, &i, 4);
    return f;
}
inline int __float_as_int(float f) {
    int i;
    std::memcpy(&i, &f, 4);
    return i;
}
using std::max;
using std::min;

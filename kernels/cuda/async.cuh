// Tiles on their way from global to shared memory while the block computes (cp.async, compute capability 8.0), and the
// dynamic shared memory that they need.
#pragma once
#include "common.cuh"

// DYNAMIC_SHARED(name, offset, type): a part of the block's dynamic shared memory, `offset` bytes from its start, a
// multiple of 16. The launch says how many bytes there are in all; the emulator refuses parts that overlap or lie
// past them, and gives each an allocation of its own. DYNAMIC_SHARED_ARRAY(name, offset, T, count): a pointer to a part
// whose length the launch decides.
#ifndef GROWTHPATH_EMULATION
extern __shared__ __align__(1024) unsigned char dynamic_shared[];
#define DYNAMIC_SHARED(name, offset, ...) __VA_ARGS__& name = *reinterpret_cast<__VA_ARGS__*>(dynamic_shared + (offset))
#define DYNAMIC_SHARED_ARRAY(name, offset, T, count) T* name = reinterpret_cast<T*>(dynamic_shared + (offset))
#endif

// Starts copying BYTES (4 or 16, both ends aligned to as many) from global to shared memory, or zeros where `present`
// is false; `from` is then not read. The bytes are there for this thread after copy_wait, for others after a barrier.
template <int BYTES>
__device__ __forceinline__ void copy_async(void* to, const void* from, bool present) {
    static_assert(BYTES == 4 || BYTES == 16, "sizes that tiles are made of");
#ifdef GROWTHPATH_EMULATION
    emu::copy_async(to, from, BYTES, present);
#else
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(to));
    if constexpr (BYTES == 16) { // past the first-level cache: a tile is read once a block
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" : : "r"(at), "l"(from), "r"(present ? 16 : 0) : "memory");
    } else {
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" : : "r"(at), "l"(from), "r"(present ? 4 : 0) : "memory");
    }
#endif
}

// Closes the group of copies that this thread started since the last one.
__device__ __forceinline__ void copy_commit() {
#ifdef GROWTHPATH_EMULATION
    emu::copy_commit();
#else
    asm volatile("cp.async.commit_group;" : : : "memory");
#endif
}

// Waits until all but the last PENDING groups of this thread are there.
template <int PENDING>
__device__ __forceinline__ void copy_wait() {
#ifdef GROWTHPATH_EMULATION
    emu::copy_wait(PENDING);
#else
    asm volatile("cp.async.wait_group %0;" : : "n"(PENDING) : "memory");
#endif
}

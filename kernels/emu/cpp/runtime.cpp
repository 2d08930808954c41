// The scheduler: runs the fibers of a block between their synchronisation points, in a chosen order, and refuses what
// a GPU would hang on or leave undefined.
#include "runtime.h"

#include <sys/mman.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace emu {

thread_local Block* active = nullptr;

// --- switching stacks ----------------------------------------------------------------------------------------------

#if defined(__SANITIZE_ADDRESS__)
static const size_t stack_size = 256 * 1024; // red zones around every local
#else
static const size_t stack_size = 64 * 1024;
#endif
static const uint64_t canary = 0x5afe57acc0ffee00ull;

#if defined(__x86_64__)
// Saves the callee-saved registers, leaves the stack pointer in *save and goes on where `to` was left.
extern "C" void emu_switch(void** save, void* to);
asm(R"(
.text
.globl emu_switch
.type emu_switch, @function
emu_switch:
    push %rbp
    push %rbx
    push %r12
    push %r13
    push %r14
    push %r15
    mov %rsp, (%rdi)
    mov %rsi, %rsp
    pop %r15
    pop %r14
    pop %r13
    pop %r12
    pop %rbx
    pop %rbp
    ret
.size emu_switch, .-emu_switch
)");
static void* first_frame(char* stack, void (*entry)()) {
    void** top = reinterpret_cast<void**>(stack + stack_size);
    *--top = nullptr; // no return address: entry never returns, and the stack is aligned as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < 6; i++) *--top = nullptr;
    return top;
}
#elif defined(__aarch64__)
extern "C" void emu_switch(void** save, void* to);
asm(R"(
.text
.globl emu_switch
emu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
)");
static void* first_frame(char* stack, void (*entry)()) {
    void** frame = reinterpret_cast<void**>(stack + stack_size - 160);
    std::memset(frame, 0, 160);
    frame[11] = reinterpret_cast<void*>(entry); // x30
    return frame;
}
#else
#error "the emulator switches stacks on x86_64 and aarch64 only"
#endif

// The sanitizer has to know of every switch, or it takes another stack's frames for an overflow.
static void to_scheduler(Fiber* me, bool for_good) {
    (void)for_good;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &me->fake_stack, active->scheduler_bottom, active->scheduler_size);
#endif
    emu_switch(&me->stack_pointer, active->scheduler);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(me->fake_stack, nullptr, nullptr);
#endif
}

static void to_fiber(Block& b, Fiber& f) {
    b.current = &f;
    f.state = State::ready;
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(&b.scheduler_fake, f.stack, stack_size);
#endif
    emu_switch(&b.scheduler, f.stack_pointer);
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(b.scheduler_fake, nullptr, nullptr);
#endif
}

static void entry() {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(nullptr, &active->scheduler_bottom, &active->scheduler_size);
#endif
    active->body();
    if (!active->current->open.empty() || !active->current->groups.empty()) fail("a thread ends with asynchronous copies under way");
    active->current->state = State::done;
    to_scheduler(active->current, true);
    std::abort(); // a finished fiber is never resumed
}

void wait(State state, int site) {
    Fiber* me = active->current;
    me->state = state;
    me->site = site;
    to_scheduler(me, false);
}

static std::string at(const char* what, const dim3& d) { return std::string(what) + " (" + std::to_string(d.x) + ", " + std::to_string(d.y) + ", " + std::to_string(d.z) + ")"; }

void fail(const std::string& message) {
    Block& b = *active;
    b.error = message + ": " + at("block", b.index) + ", " + at("thread", b.current->thread);
    to_scheduler(b.current, true);
    std::abort(); // the scheduler gives the launch up
}

// Most shared memory that a device of compute capability 9.0 gives a block.
static const size_t most_shared = 227 * 1024;

// Its own allocation, filled with a NaN in every floating type: reading before writing shows.
static void* allocate(int id, size_t offset, size_t size) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 16, size) != 0) fail("no memory for a shared variable");
    std::memset(memory, 0xff, size);
    active->shared.push_back({id, offset, size, memory});
    size_t total = active->dynamic;
    for (const Shared& s : active->shared) total += s.id == -1 ? 0 : s.size;
    if (total > most_shared) fail("a block's shared memory is " + std::to_string(total) + " bytes, of " + std::to_string(most_shared));
    return memory;
}

void* shared_memory(int id, size_t size) {
    for (const Shared& s : active->shared)
        if (s.id == id) {
            if (s.size != size) fail("one shared variable is declared with two sizes");
            return s.memory;
        }
    return allocate(id, 0, size);
}

void* dynamic_shared_memory(size_t offset, size_t size) {
    if (offset % 16 != 0) fail("a part of dynamic shared memory does not start at a multiple of 16 bytes");
    if (offset + size > active->dynamic)
        fail("a part of dynamic shared memory ends at " + std::to_string(offset + size) + " bytes, the launch gave " + std::to_string(active->dynamic));
    for (const Shared& s : active->shared) {
        if (s.id != -1) continue;
        if (s.offset == offset && s.size == size) return s.memory;
        if (s.offset < offset + size && offset < s.offset + s.size) fail("parts of dynamic shared memory overlap");
    }
    return allocate(-1, offset, size);
}

// --- asynchronous copies -------------------------------------------------------------------------------------------

static void move(const Copy& c) {
    if (c.from) {
        std::memcpy(c.to, c.from, c.bytes);
    } else {
        std::memset(c.to, 0, c.bytes);
    }
}

void copy_async(void* to, const void* from, size_t bytes, bool present) {
    Block& b = *active;
    if (reinterpret_cast<uintptr_t>(to) % bytes != 0 || (present && reinterpret_cast<uintptr_t>(from) % bytes != 0)) fail("copy_async: an end that is not aligned to the bytes it copies");
    const char* begin = static_cast<const char*>(to);
    bool inside = false;
    for (const Shared& s : b.shared) {
        const char* memory = static_cast<const char*>(s.memory);
        inside |= begin >= memory && begin + bytes <= memory + s.size;
    }
    if (!inside) fail("copy_async: a target outside shared memory");
    const Copy copy{to, present ? from : nullptr, bytes};
    // Forward: as late as allowed. Reverse: at once. Permuted: some so, some so.
    const bool now = b.schedule == 1 || (b.schedule > 1 && (++b.copies * 2654435761u + b.schedule) >> 31);
    if (now) move(copy);
    // Still to be waited for: nobody may count on its being early.
    b.current->open.push_back(now ? Copy{to, nullptr, 0} : copy);
}

void copy_commit() {
    Fiber& me = *active->current;
    me.groups.push_back(std::move(me.open));
    me.open.clear();
}

void copy_wait(size_t pending) {
    Fiber& me = *active->current;
    while (me.groups.size() > pending) {
        for (const Copy& c : me.groups.front())
            if (c.bytes > 0) move(c);
        me.groups.pop_front();
    }
}

// --- matrix instructions -------------------------------------------------------------------------------------------

void mma_16x8x16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
    struct Operands {
        unsigned a[4], b[2];
    };
    const int site = -1;
    bring(site, ~0u, Operands{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const unsigned g = lane() >> 2, t = lane() & 3;
    for (unsigned e = 0; e < 4; e++) {
        const unsigned row = g + (e >> 1) * 8, column = 2 * t + (e & 1);
        for (unsigned k = 0; k < 16; k++) {
            // A[row][k]: lane 4 (row mod 8) + (k mod 8) / 2, register row / 8 + 2 (k / 8), half k mod 2
            const Operands left = from<Operands>((row & 7) * 4 + (k & 7) / 2);
            // B[k][column]: lane 4 column + (k mod 8) / 2, register k / 8, half k mod 2
            const Operands right = from<Operands>(column * 4 + (k & 7) / 2);
            const unsigned x = left.a[(row >> 3) + 2 * (k >> 3)] >> 16 * (k & 1) & 0xffff, y = right.b[k >> 3] >> 16 * (k & 1) & 0xffff;
            d[e] += bf16_value(x) * bf16_value(y);
        }
    }
    leave(site);
}

void ldmatrix(unsigned (&r)[4], const void* row, bool transposed) {
    const int site = -2;
    if (reinterpret_cast<uintptr_t>(row) % 16 != 0) fail("ldmatrix: a row that is not 16-byte aligned");
    bring(site, ~0u, row);
    const unsigned g = lane() >> 2, t = lane() & 3;
    for (unsigned i = 0; i < 4; i++) {
        uint16_t pair[2];
        for (unsigned e = 0; e < 2; e++) {
            const unsigned from_row = transposed ? 2 * t + e : g, from_column = transposed ? g : 2 * t + e;
            pair[e] = static_cast<const uint16_t*>(from<const void*>(8 * i + from_row))[from_column];
        }
        r[i] = pair[0] | static_cast<unsigned>(pair[1]) << 16;
    }
    leave(site);
}

uint64_t shared_address(const void* place) {
    const char* at = static_cast<const char*>(place);
    for (const Shared& s : active->shared) {
        const char* memory = static_cast<const char*>(s.memory);
        if (s.id == -1 && at >= memory && at < memory + s.size) return s.offset + static_cast<size_t>(at - memory);
    }
    fail("wgmma: an operand outside dynamic shared memory");
}

Matrix::Matrix(uint64_t d) {
    const auto field = [d](unsigned from) { return static_cast<unsigned>(d >> from & 0x3fff) << 4; };
    start = field(0), leading = field(16), stride = field(32);
    const unsigned mode = static_cast<unsigned>(d >> 62);
    if (mode == 0) fail("wgmma: an operand without swizzle, which is not emulated");
    span = 256 >> mode; // 1: 128 bytes, 2: 64, 3: 32
    if ((d >> 49 & 7) != 0 || start / span % 8 != 0) fail("wgmma: an operand whose rows do not start where the swizzle does");
    for (const Shared& s : active->shared)
        if (s.id == -1 && start >= s.offset && start < s.offset + s.size) {
            memory = static_cast<const unsigned char*>(s.memory), begin = s.offset, size = s.size;
            return;
        }
    fail("wgmma: an operand outside dynamic shared memory");
}

unsigned Matrix::at(unsigned row, unsigned column) const {
    const unsigned along = 2 * column;
    unsigned place = start + along / span * leading + along % span + row / 8 * stride + row % 8 * span;
    place ^= (place >> 7 & (span / 16 - 1)) << 4;
    if (place < begin || place + 2 > begin + size) fail("wgmma: an operand that goes past the part of shared memory that it starts in");
    uint16_t bits;
    std::memcpy(&bits, memory + (place - begin), sizeof(bits));
    return bits;
}

// --- the scheduler -------------------------------------------------------------------------------------------------

// Order in which threads run between two barriers: 0 forward, 1 reverse, anything else a permutation grown from it,
// of the warps and of the lanes within each.
static std::vector<unsigned> permutation(unsigned n, unsigned schedule, unsigned salt) {
    std::vector<unsigned> order(n);
    for (unsigned i = 0; i < n; i++) order[i] = schedule == 1 ? n - 1 - i : i;
    if (schedule > 1) {
        uint32_t s = schedule * 2654435761u + salt;
        for (unsigned i = n; i-- > 1;) {
            s = s * 1664525u + 1013904223u;
            std::swap(order[i], order[(s >> 8) % (i + 1)]);
        }
    }
    return order;
}

// Releases the collectives of a warp that all lanes of their mask have reached; says whether there was one.
static bool release_collectives(Block& b, unsigned warp) {
    const unsigned first = warp * 32, lanes = std::min(32u, b.threads - first);
    bool released = false;
    for (unsigned l = 0; l < lanes; l++) {
        Fiber& f = b.fibers[first + l];
        if (f.state != State::at_collective) continue;
        bool complete = true;
        for (unsigned m = 0; m < lanes && complete; m++) {
            if (!(f.mask >> m & 1)) continue;
            const Fiber& o = b.fibers[first + m];
            complete = o.state == State::at_collective && o.mask == f.mask && o.site == f.site;
        }
        if (!complete) continue;
        const unsigned mask = f.mask;
        for (unsigned m = 0; m < lanes; m++)
            if (mask >> m & 1) b.fibers[first + m].state = State::ready;
        released = true;
    }
    return released;
}

static void run_block(Block& b, unsigned schedule) {
    const unsigned warps = (b.threads + 31) / 32;
    const std::vector<unsigned> warp_order = permutation(warps, schedule, b.index.x + 7919 * b.index.y), lane_order = permutation(32, schedule, b.index.x + 1);
    for (;;) {
        for (unsigned w : warp_order) {
            do {
                for (unsigned l : lane_order) {
                    const unsigned i = w * 32 + l;
                    if (i >= b.threads || b.fibers[i].state != State::ready) continue;
                    to_fiber(b, b.fibers[i]);
                    if (!b.error.empty()) return;
                }
            } while (release_collectives(b, w));
        }
        // Every live thread now waits: at a barrier, or at a collective that cannot complete.
        unsigned done = 0, barrier = 0;
        const Fiber *stuck = nullptr, *waiting = nullptr;
        bool one_site = true;
        for (const Fiber& f : b.fibers) {
            done += f.state == State::done;
            if (f.state == State::at_barrier) {
                barrier++;
                if (waiting && waiting->site != f.site) one_site = false;
                waiting = &f;
            }
            if (f.state == State::at_collective) stuck = &f;
        }
        if (done == b.threads) return;
        if (stuck) {
            b.error = "a warp collective (line " + std::to_string(stuck->site) + ") is not reached by all lanes of its mask: " + at("block", b.index) + ", " + at("thread", stuck->thread);
            return;
        }
        if (barrier != b.threads || !one_site) {
            b.error = std::string(one_site ? "a __syncthreads is not reached by every thread of the block" : "threads of a block wait at different __syncthreads") + " (line " +
                      std::to_string(waiting->site) + "): " + at("block", b.index);
            return;
        }
        for (Fiber& f : b.fibers) f.state = State::ready;
    }
}

struct Stacks {
    char* memory;
    size_t size;
    explicit Stacks(size_t n) : size(n * stack_size) {
        memory = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    }
    ~Stacks() {
        if (memory != MAP_FAILED) munmap(memory, size);
    }
};

static std::string launch(dim3 grid, dim3 block, size_t dynamic, unsigned schedule, std::function<void()> body) {
    Block b{};
    b.dynamic = dynamic, b.schedule = schedule;
    if (dynamic > most_shared) return "a block gets at most " + std::to_string(most_shared) + " bytes of dynamic shared memory, not " + std::to_string(dynamic);
    b.grid = grid, b.block = block, b.threads = block.x * block.y * block.z, b.body = std::move(body);
    if (b.threads == 0 || b.threads > 1024) return "a block needs 1 to 1024 threads, not " + std::to_string(b.threads);
    if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.y > 65535 || grid.z > 65535) return "a grid that no GPU launches: " + at("grid", grid);
    Stacks stacks(b.threads);
    if (stacks.memory == MAP_FAILED) return "no memory for the stacks of a block";
    b.fibers.resize(b.threads);
    Block* outer = active;
    active = &b;
    const size_t blocks = static_cast<size_t>(grid.x) * grid.y * grid.z;
    for (size_t q = 0; q < blocks && b.error.empty(); q++) {
        const size_t k = schedule == 1 ? blocks - 1 - q : q;
        b.index = dim3{static_cast<unsigned>(k % grid.x), static_cast<unsigned>(k / grid.x % grid.y), static_cast<unsigned>(k / grid.x / grid.y)};
        for (unsigned i = 0; i < b.threads; i++) {
            Fiber& f = b.fibers[i];
            f = Fiber{};
            f.index = i;
            f.thread = dim3{i % block.x, i / block.x % block.y, i / block.x / block.y};
            f.state = State::ready;
            f.stack = stacks.memory + i * stack_size;
#if defined(__SANITIZE_ADDRESS__)
            __asan_unpoison_memory_region(f.stack, stack_size); // frames of a fiber that never returned
#endif
            std::memcpy(f.stack, &canary, sizeof(canary));
            f.stack_pointer = first_frame(f.stack, entry);
        }
        run_block(b, schedule);
        for (const Fiber& f : b.fibers)
            if (std::memcmp(f.stack, &canary, sizeof(canary)) != 0) b.error = "a thread's stack overflowed";
        for (const Shared& s : b.shared) std::free(s.memory);
        b.shared.clear();
    }
    active = outer;
    return b.error;
}

static const Table& table() {
    static const Table t = [] {
        Table t;
        register_all(t);
        return t;
    }();
    return t;
}

} // namespace emu

// The name of kernel number i, null past the last.
extern "C" const char* emu_kernel_name(size_t i) {
    const auto& kernels = emu::table().kernels;
    return i < kernels.size() ? kernels[i].name : nullptr;
}

// Size of argument i of a kernel, 0 past the last; -1: no such kernel.
extern "C" long emu_argument_size(const char* name, size_t i) {
    for (const emu::Kernel& k : emu::table().kernels)
        if (std::strcmp(k.name, name) == 0) return i < k.arguments.size() ? static_cast<long>(k.arguments[i]) : 0;
    return -1;
}

// Runs a kernel, with `dynamic` bytes of dynamic shared memory, to its end; 0, or 1 with a message of at most `capacity` bytes, its end included.
extern "C" int emu_launch(const char* name, const unsigned* grid, const unsigned* block, size_t dynamic, unsigned schedule, const emu::Argument* arguments, size_t count, char* message, size_t capacity) {
    std::string error = "no such kernel";
    for (const emu::Kernel& k : emu::table().kernels) {
        if (std::strcmp(k.name, name) != 0) continue;
        error = "takes " + std::to_string(k.arguments.size()) + " arguments, not " + std::to_string(count);
        if (k.arguments.size() != count) break;
        auto body = k.bind(arguments);
        error = body ? emu::launch(dim3{grid[0], grid[1], grid[2]}, dim3{block[0], block[1], block[2]}, dynamic, schedule, std::move(body)) : "an argument has the wrong size";
        break;
    }
    if (error.empty()) return 0;
    const size_t n = std::min(error.size(), capacity - 1);
    std::memcpy(message, error.data(), n);
    message[n] = 0;
    return 1;
}

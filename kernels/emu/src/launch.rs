use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::marker::PhantomData;

/// Order in which the threads of a block (and the blocks) run between two synchronisation points. A missing barrier
/// may show in one order only: run a kernel under several.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schedule {
    /// By ascending index.
    Forward,
    /// By descending index.
    Reverse,
    /// A permutation of warps and lanes grown from the seed, another one for each block.
    Permuted(u16),
}

impl Schedule {
    /// Forward, reverse and one permutation.
    pub const ALL: [Self; 3] = [Self::Forward, Self::Reverse, Self::Permuted(7)];

    fn code(self) -> u32 {
        match self {
            Self::Forward => 0,
            Self::Reverse => 1,
            Self::Permuted(seed) => 2 + u32::from(seed),
        }
    }
}

/// A launch that was refused or given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The kernel's name.
    pub kernel: String,
    /// What went wrong, and in which block and thread.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "kernel {}: {}", self.kernel, self.message)
    }
}

impl std::error::Error for Error {}

#[derive(Clone, Copy)]
enum Value {
    Pointer(*mut c_void),
    Int(i32),
    Uint(u32),
    Float(f32),
    Size(u64),
    Struct(*const c_void, usize),
}

/// One kernel argument, borrowed for as long as a slice stands behind it.
#[derive(Clone, Copy)]
pub struct Arg<'a> {
    value: Value,
    borrow: PhantomData<&'a mut u8>,
}

impl Arg<'_> {
    const fn new(value: Value) -> Self {
        Self { value, borrow: PhantomData }
    }

    /// A null pointer, where a kernel takes one.
    pub const NULL: Arg<'static> = Arg::new(Value::Pointer(std::ptr::null_mut()));
}

impl<'a> Arg<'a> {
    /// A structure passed by value, laid out as the kernel's.
    pub fn by_value<T: Copy>(value: &'a T) -> Self {
        Self::new(Value::Struct(std::ptr::from_ref(value).cast(), size_of::<T>()))
    }
}

impl<'a, T: Copy> From<&'a [T]> for Arg<'a> {
    fn from(s: &'a [T]) -> Self {
        Arg::new(Value::Pointer(s.as_ptr().cast_mut().cast()))
    }
}
impl<'a, T: Copy> From<&'a Vec<T>> for Arg<'a> {
    fn from(s: &'a Vec<T>) -> Self {
        s.as_slice().into()
    }
}
impl<'a, T: Copy> From<&'a mut [T]> for Arg<'a> {
    fn from(s: &'a mut [T]) -> Self {
        Arg::new(Value::Pointer(s.as_mut_ptr().cast()))
    }
}
impl<'a, T: Copy> From<&'a mut Vec<T>> for Arg<'a> {
    fn from(s: &'a mut Vec<T>) -> Self {
        s.as_mut_slice().into()
    }
}
impl<'a, T> From<Option<&'a Vec<T>>> for Arg<'a>
where
    T: Copy,
{
    fn from(s: Option<&'a Vec<T>>) -> Self {
        s.map_or(Arg::NULL, Arg::from)
    }
}
impl From<i32> for Arg<'_> {
    fn from(v: i32) -> Self {
        Self::new(Value::Int(v))
    }
}
impl From<u32> for Arg<'_> {
    fn from(v: u32) -> Self {
        Self::new(Value::Uint(v))
    }
}
impl From<u64> for Arg<'_> {
    fn from(v: u64) -> Self {
        Self::new(Value::Size(v))
    }
}
impl From<f32> for Arg<'_> {
    fn from(v: f32) -> Self {
        Self::new(Value::Float(v))
    }
}

#[repr(C)]
struct RawArg {
    value: *const c_void,
    size: usize,
}

unsafe extern "C" {
    fn emu_argument_size(name: *const c_char, i: usize) -> std::ffi::c_long;
    fn emu_kernel_name(i: usize) -> *const c_char;
    fn emu_launch(
        name: *const c_char,
        grid: *const u32,
        block: *const u32,
        dynamic: usize,
        schedule: u32,
        arguments: *const RawArg,
        count: usize,
        message: *mut c_char,
        capacity: usize,
    ) -> c_int;
}

/// Names of all kernels, fixtures included, in file order.
pub fn kernels() -> Vec<String> {
    // SAFETY: returns a pointer to a literal, or null past the last.
    let name = |i| unsafe { emu_kernel_name(i) };
    (0..)
        .map(name)
        .take_while(|p| !p.is_null())
        // SAFETY: not null, and a C string literal.
        .map(|p| unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned())
        .collect()
}

/// Sizes in bytes of a kernel's arguments; none: there is no such kernel.
pub fn argument_sizes(kernel: &str) -> Option<Vec<usize>> {
    let name = CString::new(kernel).ok()?;
    // SAFETY: a C string; the callee only reads it.
    let size = |i| unsafe { emu_argument_size(name.as_ptr(), i) };
    if size(0) < 0 {
        return None;
    }
    Some((0..).map(size).take_while(|s| *s > 0).map(|s| s as usize).collect())
}

/// The shape of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z; at most 1024 in all.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub shared: usize,
    /// Order of the threads.
    pub schedule: Schedule,
}

impl Launch {
    /// Runs `kernel` to its end.
    ///
    /// # Errors
    /// An unknown name, arguments that do not fit in number or size, a shape no GPU launches, a divergent barrier,
    /// an incomplete warp collective.
    ///
    /// # Safety
    /// The slices behind `args` have to be as long as the kernel's documentation says, and those it writes mutable.
    pub unsafe fn run(&self, kernel: &str, args: &[Arg<'_>]) -> Result<(), Error> {
        let raw: Vec<RawArg> = args
            .iter()
            .map(|a| match &a.value {
                Value::Pointer(p) => {
                    RawArg { value: std::ptr::from_ref(p).cast(), size: size_of::<*mut c_void>() }
                }
                Value::Int(v) => RawArg { value: std::ptr::from_ref(v).cast(), size: 4 },
                Value::Uint(v) => RawArg { value: std::ptr::from_ref(v).cast(), size: 4 },
                Value::Size(v) => RawArg { value: std::ptr::from_ref(v).cast(), size: 8 },
                Value::Float(v) => RawArg { value: std::ptr::from_ref(v).cast(), size: 4 },
                Value::Struct(p, size) => RawArg { value: *p, size: *size },
            })
            .collect();
        // SAFETY: `raw` points into `args`; the rest is the caller's promise.
        unsafe { self.run_raw(kernel, &raw) }
    }

    /// Runs `kernel` with the bytes of its arguments, one vector each.
    ///
    /// # Errors
    /// As [`Launch::run`].
    ///
    /// # Safety
    /// As [`Launch::run`], of the addresses among the bytes.
    pub unsafe fn run_bytes(&self, kernel: &str, args: &[Vec<u8>]) -> Result<(), Error> {
        // The runtime reads whole arguments where they lie: give each the alignment of an address.
        let aligned: Vec<Vec<u64>> = args
            .iter()
            .map(|a| {
                let word = |w: &[u8]| {
                    w.iter().enumerate().fold(0u64, |word, (i, b)| word | u64::from(*b) << (8 * i))
                };
                a.chunks(8).map(word).collect()
            })
            .collect();
        let raw: Vec<RawArg> = aligned
            .iter()
            .zip(args)
            .map(|(w, a)| RawArg { value: w.as_ptr().cast(), size: a.len() })
            .collect();
        // SAFETY: `raw` points into `aligned`; the rest is the caller's promise.
        unsafe { self.run_raw(kernel, &raw) }
    }

    unsafe fn run_raw(&self, kernel: &str, raw: &[RawArg]) -> Result<(), Error> {
        let error = |message: String| Error { kernel: kernel.to_owned(), message };
        let name = CString::new(kernel).map_err(|_| error("a name with a NUL".into()))?;
        let mut message: [c_char; 512] = [0; 512];
        // SAFETY: the message holds its capacity; the rest is the caller's promise.
        let failed = unsafe {
            emu_launch(
                name.as_ptr(),
                self.grid.as_ptr(),
                self.block.as_ptr(),
                self.shared,
                self.schedule.code(),
                raw.as_ptr(),
                raw.len(),
                message.as_mut_ptr(),
                message.len(),
            )
        };
        if failed == 0 {
            return Ok(());
        }
        // SAFETY: emu_launch ends its message within the capacity.
        let text = unsafe { CStr::from_ptr(message.as_ptr()) };
        Err(error(text.to_string_lossy().into_owned()))
    }
}

//! Row-major matrix products in float64 through cuBLAS, many at a time.

use cudarc::cublas::{result as cublas, sys};

use super::{Elem, Gpu, Slice, failed, int};
use crate::error::{Error, Result};

/// Row-major float64 matrices in device memory, equally far from one another: one product of a batch takes one of them.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    data: Slice<'a>,
    rows: usize,
    columns: usize,
    pitch: usize,
    stride: usize,
    transposed: bool,
}

impl<'a> Panel<'a> {
    /// `[rows, columns]` at the front of `data`, row after row.
    pub fn new(data: Slice<'a>, rows: usize, columns: usize) -> Self {
        Self { data, rows, columns, pitch: columns, stride: rows * columns, transposed: false }
    }

    /// The same in rows of `pitch` elements.
    pub fn pitch(self, pitch: usize) -> Self {
        Self { pitch, ..self }
    }

    /// The same with `stride` elements from one matrix to the next.
    pub fn stride(self, stride: usize) -> Self {
        Self { stride, ..self }
    }

    /// The transposes, without a copy.
    pub fn t(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    /// Rows and columns as a product sees them.
    fn shape(&self) -> (usize, usize) {
        if self.transposed { (self.columns, self.rows) } else { (self.rows, self.columns) }
    }

    fn check(&self, what: &'static str, batch: usize) -> Result<()> {
        const OP: &str = "float64 product";
        self.data.check(OP, what, Elem::F64, self.data.len())?;
        let end = (batch - 1) * self.stride + (self.rows - 1) * self.pitch + self.columns;
        if self.columns <= self.pitch && end <= self.data.len() {
            return Ok(());
        }
        Err(Error::Unsupported {
            op: OP,
            message: format!(
                "{what}: {batch} matrices [{}, {}] in rows of {} and {} apart need more than {} elements",
                self.rows,
                self.columns,
                self.pitch,
                self.stride,
                self.data.len()
            ),
        })
    }

    fn operation(&self) -> sys::cublasOperation_t {
        // Row-major read column-major is the transpose; the product below is C^T = B^T A^T, so plain stays plain.
        if self.transposed {
            sys::cublasOperation_t::CUBLAS_OP_T
        } else {
            sys::cublasOperation_t::CUBLAS_OP_N
        }
    }
}

impl Gpu {
    /// `c = alpha a b` for each of `batch` products.
    ///
    /// # Errors
    /// Shapes or types that do not fit, or what cuBLAS refuses.
    pub fn gemm_f64(&self, batch: usize, c: Panel<'_>, a: Panel<'_>, b: Panel<'_>, alpha: f64) -> Result<()> {
        const OP: &str = "float64 product";
        let ((m, k), (inner, n)) = (a.shape(), b.shape());
        if inner != k || c.shape() != (m, n) || c.transposed || batch * m * n * k == 0 {
            return Err(Error::Unsupported {
                op: OP,
                message: format!("{batch} x {:?} = [{m}, {k}] [{inner}, {n}]", c.shape()),
            });
        }
        for (what, panel) in [("result", &c), ("first factor", &a), ("second factor", &b)] {
            panel.check(what, batch)?;
        }
        if batch > 1 && c.stride < (m - 1).saturating_mul(c.pitch).saturating_add(n) && c.stride < n {
            return Err(Error::Unsupported { op: OP, message: "the results overlap".into() });
        }
        let (alpha, beta) = (alpha, 0f64);
        self.enter()?;
        let state = self.inner();
        let mut profile = state.profile.lock();
        let mark = profile.before(state.stream)?;
        let blas = state.blas.lock();
        // SAFETY: the three panels were checked to lie inside their slices; alpha and beta are read before the call
        // returns.
        unsafe {
            cublas::dgemm_strided_batched(
                *blas,
                b.operation(),
                a.operation(),
                int(OP, n)?,
                int(OP, m)?,
                int(OP, k)?,
                &raw const alpha,
                b.data.ptr() as *const f64,
                int(OP, b.pitch)?,
                b.stride as i64,
                a.data.ptr() as *const f64,
                int(OP, a.pitch)?,
                a.stride as i64,
                &raw const beta,
                c.data.ptr() as *mut f64,
                int(OP, c.pitch)?,
                c.stride as i64,
                int(OP, batch)?,
            )
        }
        .map_err(|e| failed(format!("{batch} float64 products [{m}, {k}] [{k}, {n}]"), e))?;
        profile.after("gemm_f64", mark, state.stream)
    }
}

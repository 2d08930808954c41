//! Row-major matrix products through cuBLAS.

use cudarc::cublas::{result as cublas, sys};
use faer::Accum;

use super::{Elem, Gpu, Slice, failed, int};
use crate::error::{Error, Result};

/// A row-major matrix in device memory, read as it stands or transposed.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: Slice<'a>,
    rows: usize,
    columns: usize,
    transposed: bool,
}

impl<'a> Matrix<'a> {
    /// `[rows, columns]`, row after row.
    ///
    /// # Errors
    /// A slice of another length.
    pub fn new(data: Slice<'a>, rows: usize, columns: usize) -> Result<Self> {
        data.check("gemm", "matrix", data.elem(), rows * columns)?;
        Ok(Self { data, rows, columns, transposed: false })
    }

    /// The transpose, without a copy.
    pub fn t(self) -> Self {
        Self { rows: self.columns, columns: self.rows, transposed: !self.transposed, ..self }
    }

    /// Rows as stored: the distance between them is the number of columns as stored.
    fn pitch(&self) -> usize {
        if self.transposed { self.rows } else { self.columns }
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

fn data_type(op: &'static str, elem: Elem) -> Result<sys::cudaDataType> {
    match elem {
        Elem::F32 => Ok(sys::cudaDataType::CUDA_R_32F),
        Elem::Bf16 => Ok(sys::cudaDataType::CUDA_R_16BF),
        Elem::U32 => Err(Error::Unsupported { op, message: "integers have no matrix product".into() }),
        Elem::F64 => Err(Error::Unsupported { op, message: "float64 has a product of its own".into() }),
    }
}

impl Gpu {
    /// `c = a b`, or `c += a b`, as `accum` says; sums in float32 (never TF32).
    ///
    /// # Errors
    /// Shapes or types that do not fit, or what cuBLAS refuses.
    pub fn gemm(&self, c: Matrix<'_>, a: Matrix<'_>, b: Matrix<'_>, accum: Accum) -> Result<()> {
        const OP: &str = "gemm";
        let add = accum == Accum::Add;
        let (m, k, n) = (a.rows, a.columns, b.columns);
        if b.rows != k || c.rows != m || c.columns != n || c.transposed {
            return Err(Error::Unsupported {
                op: OP,
                message: format!("[{}, {}] = [{m}, {k}] [{}, {n}]", c.rows, c.columns, b.rows),
            });
        }
        if a.data.elem() != b.data.elem() {
            return Err(Error::Unsupported { op: OP, message: "factors of two element types".into() });
        }
        if m * n * k == 0 {
            return if add { Ok(()) } else { c.data.zero() };
        }
        let (in_type, out_type) = (data_type(OP, a.data.elem())?, data_type(OP, c.data.elem())?);
        let (m, n, k) = (int(OP, m)?, int(OP, n)?, int(OP, k)?);
        let pitches = [int(OP, b.pitch())?, int(OP, a.pitch())?, int(OP, c.pitch())?];
        let (alpha, beta) = (1f32, if add { 1f32 } else { 0f32 });
        self.enter()?;
        let inner = self.inner();
        let stream = self.stream();
        let mut profile = inner.profile.lock();
        let mark = profile.before(stream)?;
        let main = inner.blas.lock();
        let blas = inner.branch.blas().unwrap_or(*main);
        // SAFETY: the lengths of the three slices were checked against these sizes when the matrices were made; alpha
        // and beta are read before the call returns.
        unsafe {
            cublas::gemm_ex(
                blas,
                b.operation(),
                a.operation(),
                n,
                m,
                k,
                (&raw const alpha).cast(),
                b.data.ptr() as *const _,
                in_type,
                pitches[0],
                a.data.ptr() as *const _,
                in_type,
                pitches[1],
                (&raw const beta).cast(),
                c.data.ptr() as *mut _,
                out_type,
                pitches[2],
                sys::cublasComputeType_t::CUBLAS_COMPUTE_32F,
                sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
            )
        }
        .map_err(|e| failed(format!("a matrix product [{m}, {k}] [{k}, {n}]"), e))?;
        profile.after("gemm", mark, stream)
    }
}

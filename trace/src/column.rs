//! Columns: the few number types that cells have, and what a column says about itself.

use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{ArrayRef, PrimitiveArray, cast::AsArray};
use arrow_buffer::ArrowNativeType;
use arrow_schema::DataType;

/// The number type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellType {
    /// 8-bit unsigned.
    U8,
    /// 16-bit unsigned.
    U16,
    /// 32-bit unsigned.
    U32,
    /// 64-bit unsigned.
    U64,
    /// 32-bit float.
    F32,
    /// 64-bit float.
    F64,
}

impl CellType {
    /// Whether cells are floats.
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F64)
    }

    /// [`Cell::UNDEFINED`] of this type.
    pub const fn undefined(self) -> u64 {
        match self {
            Self::F32 => f32::UNDEFINED,
            Self::F64 => f64::UNDEFINED,
            _ => 0,
        }
    }

    /// The arrow type.
    pub const fn arrow(self) -> DataType {
        match self {
            Self::U8 => DataType::UInt8,
            Self::U16 => DataType::UInt16,
            Self::U32 => DataType::UInt32,
            Self::U64 => DataType::UInt64,
            Self::F32 => DataType::Float32,
            Self::F64 => DataType::Float64,
        }
    }
}

/// What a column is for, and which values it may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Part of the key: rows are sorted by the key columns in their order, and no key comes twice.
    Key,
    /// A number that is always defined: NaN or infinity marks a diverged run.
    Number,
    /// A number that may be undefined: then it is NaN in rows and null in files. Infinity marks a diverged run.
    Optional,
}

/// One column of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Its name in the row type and in the files.
    pub name: &'static str,
    /// Its number type.
    pub cell: CellType,
    /// Its unit; "1" for plain numbers.
    pub unit: &'static str,
    /// What it is for.
    pub role: Role,
    /// One line about it.
    pub doc: &'static str,
}

impl Column {
    /// Whether a file may do without it: its numbers are undefined then. So a column can be added without a new schema
    /// version, and runs recorded before stay readable.
    pub const fn may_be_missing(&self) -> bool {
        matches!(self.role, Role::Optional) && self.cell.is_float()
    }
}

/// A number that a cell can hold.
pub trait Cell: Copy + Send + Sync + sealed::Sealed + 'static {
    /// Its column type.
    const TYPE: CellType;

    /// Bits that stand for an undefined value: NaN, or zero for integers, which always are.
    const UNDEFINED: u64;

    /// As a float64; integers above 2^53 are rounded.
    fn as_f64(self) -> f64;

    /// Its bits, zero-extended; for unsigned integers, the value.
    fn bits(self) -> u64;

    /// The inverse of [`Cell::bits`]; surplus high bits are dropped.
    fn from_bits(bits: u64) -> Self;
}

mod sealed {
    /// Keeps [`super::Cell`] to the types declared here.
    pub trait Sealed {}
}

/// Ties a cell to its arrow type, which stays out of the public trait.
pub(crate) trait ArrowCell: Cell + ArrowNativeType {
    /// The arrow type of its arrays.
    type Arrow: ArrowPrimitiveType<Native = Self>;

    /// The values of an array of that type.
    fn of(array: &PrimitiveArray<Self::Arrow>) -> &[Self];
}

macro_rules! cell {
    ($native:ty, $kind:ident, $arrow:ty, $undefined:expr, $bits:expr, $from:expr) => {
        impl sealed::Sealed for $native {}
        impl Cell for $native {
            const TYPE: CellType = CellType::$kind;
            const UNDEFINED: u64 = $undefined;
            fn as_f64(self) -> f64 {
                self as f64
            }
            fn bits(self) -> u64 {
                $bits(self)
            }
            fn from_bits(bits: u64) -> Self {
                $from(bits)
            }
        }
        impl ArrowCell for $native {
            type Arrow = $arrow;
            fn of(array: &PrimitiveArray<$arrow>) -> &[Self] {
                array.values()
            }
        }
    };
}

cell!(u8, U8, UInt8Type, 0, u64::from, |b| b as u8);
cell!(u16, U16, UInt16Type, 0, u64::from, |b| b as u16);
cell!(u32, U32, UInt32Type, 0, u64::from, |b| b as u32);
cell!(u64, U64, UInt64Type, 0, |v| v, |b| b);
cell!(f32, F32, Float32Type, f32::NAN.to_bits() as u64, |v: f32| u64::from(v.to_bits()), |b| f32::from_bits(
    b as u32
));
cell!(f64, F64, Float64Type, f64::NAN.to_bits(), f64::to_bits, f64::from_bits);

/// The cells of an array, or why they are not of the type wanted.
pub(crate) fn values<C: ArrowCell>(array: &ArrayRef) -> Result<&[C], String> {
    if array.null_count() > 0 {
        return Err("a column that is always defined holds nulls".to_owned());
    }
    let array: &PrimitiveArray<C::Arrow> = array.as_primitive_opt().ok_or_else(|| {
        format!("a column holds {} where {} was expected", array.data_type(), C::TYPE.arrow())
    })?;
    Ok(C::of(array))
}

/// The cells of an array of any of our types as float64.
pub(crate) fn values_f64(array: &ArrayRef) -> Result<Vec<f64>, String> {
    fn cast<C: ArrowCell>(array: &ArrayRef) -> Result<Vec<f64>, String> {
        Ok(values::<C>(array)?.iter().map(|v| v.as_f64()).collect())
    }
    match array.data_type() {
        DataType::UInt8 => cast::<u8>(array),
        DataType::UInt16 => cast::<u16>(array),
        DataType::UInt32 => cast::<u32>(array),
        DataType::UInt64 => cast::<u64>(array),
        DataType::Float32 => cast::<f32>(array),
        DataType::Float64 => cast::<f64>(array),
        other => Err(format!("a column holds {other}, which no table has")),
    }
}

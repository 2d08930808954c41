//! Columns of any numeric type to the cells of a table, without loss or not at all.

use arrow_array::cast::AsArray;
use arrow_array::types::*;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use crate::column::{Cell, CellType, Column};

/// A number as another program stores it.
#[derive(Clone, Copy)]
enum Number {
    Null,
    Int(i128),
    Float(f64),
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Int(v) => write!(f, "{v}"),
            Self::Float(v) => write!(f, "{v}"),
        }
    }
}

/// The cells of a column as bits; see [`crate::Cell::bits`].
///
/// # Errors
/// A type that holds no numbers, or the first value that the column's type cannot hold.
pub(super) fn bits(column: &Column, array: &ArrayRef) -> Result<Vec<u64>, String> {
    let numbers = numbers(array).ok_or_else(|| {
        format!(
            "column {} holds {}, {} was expected ({})",
            column.name,
            array.data_type(),
            column.cell.arrow(),
            column.doc
        )
    })?;
    numbers
        .into_iter()
        .enumerate()
        .map(|(row, n)| {
            cell(column.cell, n).ok_or_else(|| {
                format!(
                    "column {} holds {n} in row {row}, which no {} can ({})",
                    column.name,
                    column.cell.arrow(),
                    column.doc
                )
            })
        })
        .collect()
}

fn numbers(array: &ArrayRef) -> Option<Vec<Number>> {
    macro_rules! read {
        ($kind:ty, $make:expr) => {
            array.as_primitive::<$kind>().iter().map(|v| v.map_or(Number::Null, $make)).collect()
        };
    }
    Some(match array.data_type() {
        DataType::UInt8 => read!(UInt8Type, |v| Number::Int(v.into())),
        DataType::UInt16 => read!(UInt16Type, |v| Number::Int(v.into())),
        DataType::UInt32 => read!(UInt32Type, |v| Number::Int(v.into())),
        DataType::UInt64 => read!(UInt64Type, |v| Number::Int(v.into())),
        DataType::Int8 => read!(Int8Type, |v| Number::Int(v.into())),
        DataType::Int16 => read!(Int16Type, |v| Number::Int(v.into())),
        DataType::Int32 => read!(Int32Type, |v| Number::Int(v.into())),
        DataType::Int64 => read!(Int64Type, |v| Number::Int(v.into())),
        DataType::Float32 => read!(Float32Type, |v| Number::Float(v.into())),
        DataType::Float64 => read!(Float64Type, Number::Float),
        _ => return None,
    })
}

/// Largest integer up to which every integer is a float64.
const EXACT: f64 = 9_007_199_254_740_992.0;

fn cell(kind: CellType, n: Number) -> Option<u64> {
    if kind.is_float() {
        let value = match n {
            // pandas writes NaN as null.
            Number::Null => f64::NAN,
            Number::Float(v) => v,
            Number::Int(v) => {
                let value = v as f64;
                if value.abs() > EXACT {
                    return None;
                }
                value
            }
        };
        if kind == CellType::F64 {
            return Some(value.bits());
        }
        let single = value as f32;
        let same = single.is_nan() && value.is_nan() || f64::from(single) == value;
        // Averages and sums of float64 that another program made are not the values that were recorded.
        return same.then(|| single.bits());
    }
    let value = match n {
        Number::Null => return None,
        Number::Int(v) => v,
        // A column of integers that once had a gap is a column of floats in pandas.
        Number::Float(v) if v.fract() == 0.0 && v.abs() <= EXACT => v as i128,
        Number::Float(_) => return None,
    };
    let most: i128 = match kind {
        CellType::U8 => u8::MAX.into(),
        CellType::U16 => u16::MAX.into(),
        CellType::U32 => u32::MAX.into(),
        _ => u64::MAX.into(),
    };
    (0..=most).contains(&value).then_some(value as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_fits_exactly_passes() {
        use CellType::*;
        assert_eq!(cell(U16, Number::Int(65_535)), Some(65_535));
        assert_eq!(cell(U16, Number::Int(65_536)), None);
        assert_eq!(cell(U32, Number::Int(-1)), None);
        assert_eq!(cell(U32, Number::Float(7.0)), Some(7));
        assert_eq!(cell(U32, Number::Float(7.5)), None);
        assert_eq!(cell(U32, Number::Null), None);
        assert_eq!(cell(U64, Number::Int(u64::MAX.into())), Some(u64::MAX));
        assert_eq!(cell(F32, Number::Float(0.1f32.into())), Some(0.1f32.to_bits().into()));
        assert_eq!(cell(F32, Number::Float(0.1)), None);
        assert_eq!(cell(F64, Number::Float(0.1)), Some(0.1f64.to_bits()));
        assert_eq!(cell(F64, Number::Int(1 << 54)), None);
        assert!(cell(F32, Number::Null).is_some_and(|b| f32::from_bits(b as u32).is_nan()));
        assert!(cell(F32, Number::Float(f64::INFINITY)).is_some());
    }
}

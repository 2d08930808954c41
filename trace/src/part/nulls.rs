//! Undefined numbers: NaN in rows, null in files, so that other programs' means and sums leave them out.

use std::sync::Arc;

use arrow_array::types::{ArrowPrimitiveType, Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, PrimitiveArray, RecordBatch, cast::AsArray};
use arrow_buffer::NullBuffer;
use arrow_schema::{ArrowError, DataType};

use crate::column::Role;
use crate::table::Table;

/// The batch with null for NaN in the columns that may be undefined.
pub fn nan_to_null(table: Table, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let optional = |i: usize| table.columns().get(i).is_some_and(|c| c.role == Role::Optional);
    map(batch, |i, array| match array.data_type() {
        DataType::Float32 if optional(i) => mask::<Float32Type>(array, |v| v.is_nan()),
        DataType::Float64 if optional(i) => mask::<Float64Type>(array, |v| v.is_nan()),
        _ => array.clone(),
    })
}

/// The batch with NaN for null in float columns; nulls of other columns are left for the reader to refuse.
pub fn null_to_nan(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if batch.columns().iter().all(|c| c.null_count() == 0) {
        return Ok(batch.clone());
    }
    map(batch, |_, array| match array.data_type() {
        DataType::Float32 => fill::<Float32Type>(array, f32::NAN),
        DataType::Float64 => fill::<Float64Type>(array, f64::NAN),
        _ => array.clone(),
    })
}

fn map(batch: &RecordBatch, of: impl Fn(usize, &ArrayRef) -> ArrayRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().enumerate().map(|(i, c)| of(i, c)).collect();
    RecordBatch::try_new(batch.schema(), columns)
}

fn mask<T: ArrowPrimitiveType>(array: &ArrayRef, undefined: impl Fn(T::Native) -> bool) -> ArrayRef {
    let values = array.as_primitive::<T>();
    let defined: Vec<bool> = values.values().iter().map(|v| !undefined(*v)).collect();
    if defined.iter().all(|d| *d) {
        return array.clone();
    }
    Arc::new(PrimitiveArray::<T>::new(values.values().clone(), Some(NullBuffer::from(defined))))
}

fn fill<T: ArrowPrimitiveType>(array: &ArrayRef, undefined: T::Native) -> ArrayRef {
    let values = array.as_primitive::<T>();
    Arc::new(PrimitiveArray::<T>::from_iter_values(values.iter().map(|v| v.unwrap_or(undefined))))
}

//! Rows waiting to be written.

use crate::error::Result;
use crate::rows::*;
use crate::table::{Table, with_tables};

macro_rules! define_buffers {
    ($($field:ident: $variant:ident($row:ident) $folder:literal $keep:ident,)+) => {
        /// Rows of every table.
        #[derive(Debug, Default)]
        pub(super) struct Buffers {
            $($field: Vec<$row>,)+
        }

        impl Buffers {
            /// Appends rows.
            pub fn extend<R: Row>(&mut self, rows: &[R]) {
                // Exactly one arm applies: `R` is the row type of its table.
                match R::TABLE {
                    $(Table::$variant => {
                        if let Some(buffer) = (&mut self.$field as &mut dyn std::any::Any).downcast_mut::<Vec<R>>() {
                            buffer.extend_from_slice(rows);
                        }
                    })+
                }
            }

            /// Calls `store` for every table that has rows, in table order.
            pub fn for_each(&self, store: &mut impl Store) -> Result<()> {
                $(if !self.$field.is_empty() {
                    store.store(&self.$field)?;
                })+
                Ok(())
            }
        }
    };
}
with_tables!(define_buffers);

/// Takes the rows of one table.
pub(super) trait Store {
    /// Takes `rows`, at least one.
    fn store<R: Row>(&mut self, rows: &[R]) -> Result<()>;
}

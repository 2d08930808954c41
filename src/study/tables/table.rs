//! A table before it has a format.

use crate::tables::{table, wrapped};

/// Columns of notes on a terminal.
const WIDTH: usize = 100;

/// A table for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Stem of its file names.
    pub name: &'static str,
    /// What it shows, a sentence.
    pub title: String,
    /// Column heads.
    pub head: Vec<String>,
    /// Rows, as wide as the head.
    pub rows: Vec<Vec<String>>,
    /// What a reader must know, a sentence each.
    pub notes: Vec<String>,
}

impl Table {
    /// One without rows and notes.
    pub fn new(name: &'static str, title: impl Into<String>, head: &[&str]) -> Self {
        let head = head.iter().map(|h| (*h).to_owned()).collect();
        Self { name, title: title.into(), head, rows: Vec::new(), notes: Vec::new() }
    }

    /// Aligned for a terminal.
    pub fn text(&self) -> String {
        let head: Vec<&str> = self.head.iter().map(String::as_str).collect();
        let notes = self.notes.iter().flat_map(|n| wrapped(n, WIDTH));
        let notes: String = notes.map(|line| line + "\n").collect();
        format!("{}\n{}{notes}", self.title, table(&head, &self.rows))
    }
}

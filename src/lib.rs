//! growthpath

//! Runs that survive what happens to processes, disks and files, through the program as its user meets it.

#![cfg(unix)]

mod checkpoints;
mod refusals;
mod signals;
mod studies;
mod support;
mod writers;

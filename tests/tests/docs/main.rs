//! Checks the documentation, and the files that operators copy, against the programs.

mod deploy;
mod pages;

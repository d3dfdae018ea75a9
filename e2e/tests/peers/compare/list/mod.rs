//! The differences that are wanted, each with its reason and with what asks for it.
//!
//! Reviewed: a line is added only with a reason that a maintainer of Distribution would accept, and with the section of a
//! specification. Where none asks for a difference, Berth answers as Distribution does.

mod content;
mod details;
mod paths;
mod pushes;

use crate::known::Known;

/// The whole list.
pub(crate) fn list() -> Vec<Known> {
    [paths::LIST, content::LIST, pushes::LIST, details::LIST].concat()
}

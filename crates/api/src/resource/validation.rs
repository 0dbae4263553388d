//! Errors of a request's fields, gathered so that one answer names them all.
//!
//! The first mistake alone would make a form be sent as often as it has mistakes. Errors keep the order in which they were
//! found: unknown names first, then columns in the order of their declaration.

use crate::Problem;

/// Validation errors by field.
#[derive(Debug, Default)]
pub(super) struct ValidationErrors(Vec<(String, String)>);

impl ValidationErrors {
    /// Adds an error of a field.
    pub(super) fn field(&mut self, name: &str, detail: String) {
        self.0.push((name.to_owned(), detail));
    }

    /// Returns the value, or notes the error of the field and returns the default.
    pub(super) fn or_default<T: Default>(&mut self, name: &str, result: Result<T, String>) -> T {
        result.unwrap_or_else(|detail| {
            self.field(name, detail);
            T::default()
        })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// # Errors
    /// 400 with every error, if there is one.
    pub(super) fn into_result(self) -> Result<(), Problem> {
        if self.0.is_empty() {
            return Ok(());
        }
        let problem = Problem::bad_request("the request is not valid; see errors");
        Err(self.0.into_iter().fold(problem, |problem, (name, detail)| problem.with_field(name, detail)))
    }
}

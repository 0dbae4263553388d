//! Rules of Durable Objects for an object's SQL, where they are not D1's, too.

use isobar_sqlite::lasting_setting;
use rusqlite::hooks::{AuthAction, AuthContext};

/// Bytes of a value or row, with those of a record's header on top, as workerd allows for.
pub(super) const VALUE_BYTES: usize = crate::limits::VALUE_BYTES + 34;

/// The setting that a PRAGMA changes on its connection beyond the transaction, and its value.
pub(super) fn setting<'a>(context: &AuthContext<'a>) -> Option<(&'static str, &'a str)> {
    match context.action {
        AuthAction::Pragma { pragma_name, pragma_value: Some(value) }
            if pragma_name.eq_ignore_ascii_case("foreign_keys") =>
        {
            Some(("foreign_keys", value))
        }
        _ => lasting_setting(context),
    }
}

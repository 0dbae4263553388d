//! What differs between D1 in workerd and the local database, with the reason.

use serde_json::Value as Json;

use super::Call;

/// Returns why the outcomes of a call differ, where that is known.
pub(super) fn reason(_call: &Call, _theirs: &Json, _ours: &Json) -> Option<&'static str> {
    None
}

//! The engine: the index's connections, and what is done in its transactions besides the callers' own work.
//!
//! | module | does | when |
//! |---|---|---|
//! | `index` | the operations of the trait, as transactions | on every call |
//! | `recover` | replays frames that the index has lost in a power failure | when a store is opened |
//! | `upgrade`, `history` | bring an index of an earlier version to the present one | when a store is opened, exclusively |
//! | `new_index` | makes an index out of the packs | in a rebuild |
//! | `compact` | relocates what is live in a pack that is mostly garbage | in every transaction, in proportion to what it writes |
//! | `gc` | unlinks replaced blobs | after commits |
//! | `check` | asks what is damaged, and repairs rows | in `fsck` and the garbage collection |
//! | `changes` | counts changes, of other processes too | when [`generation`](crate::ObjectStore::generation) is asked |
//! | `busy_handler` | waits for locks of other processes | on every connection |
//!
//! All statements are in [`index`](super::index), all files in [`packs`](super::packs) and [`blobs`](super::blobs), and all
//! writing goes through the thread of [`commit`](super::commit): nothing here writes on another thread.

mod busy_handler;
mod changes;
mod check;
mod compact;
mod gc;
mod history;
mod index;
pub(super) mod new_index;
mod recover;
pub(super) mod upgrade;

pub(super) use self::gc::{LastCheck, collect};
pub(super) use self::index::{Index, NewBody};

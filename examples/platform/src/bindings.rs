//! The names of wrangler.toml, once.

pub(crate) const STORAGE: &str = "STORAGE";
pub(crate) const DB: &str = "DB";
pub(crate) const MEAUXOS_DB: &str = "MEAUXOS_DB";
pub(crate) const IAM_SESSION: &str = "IAM_SESSION";
pub(crate) const ANALYTICS: &str = "INNERANIMALMEDIA-ANALYTICENGINE";

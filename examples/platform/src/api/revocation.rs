//! Connections of users whose access has ended: sockets of chats and calls, streams and calls of MCP.

use std::collections::BTreeSet;

use async_trait::async_trait;
use isobar_api::auth::{Revocations, Revoked};
use isobar_db::QueryableExt;
use isobar_http_serve::{Platform, Problem};
use isobar_objects::{Participant, directory};
use isobar_sessions::ErrorKind;

use super::Answer;
use crate::bindings::{DB, DIRECTORY, IAM_SESSION};

/// Closes connections. Clients that still have access reconnect and are authorized again.
#[derive(Debug)]
pub(super) struct Connections(pub(super) Platform);

#[async_trait]
impl Revocations for Connections {
    async fn revoked(&self, revoked: &[Revoked]) -> Result<(), Problem> {
        let mut ended = BTreeSet::new();
        for Revoked { user, tenant, .. } in revoked {
            match tenant {
                Some(tenant) => drop(ended.insert((tenant.clone(), user.clone()))),
                None => {
                    let sql = "SELECT tenant_id FROM memberships WHERE user_id = ?";
                    let tenants: Vec<String> = self.0.database(DB)?.prepare(sql).bind(user.as_str()).all().await?;
                    ended.extend(tenants.into_iter().map(|tenant| (tenant, user.clone())));
                }
            }
        }
        // One failure must not stop the others; all are delivered again.
        let mut failed = None;
        for (tenant, user) in &ended {
            for closed in [self.close_rooms(tenant, user).await, self.close_mcp(tenant, user).await] {
                failed = closed.err().or(failed);
            }
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Connections {
    async fn close_rooms(&self, tenant: &str, user: &str) -> Answer<()> {
        let sessions = self.0.sessions(IAM_SESSION)?;
        let rooms = sessions.id_from_name(&format!("{DIRECTORY}/{tenant}"));
        running(directory::revoke(&*sessions, &rooms, user).await.map(drop))
    }

    async fn close_mcp(&self, tenant: &str, user: &str) -> Answer<()> {
        let sessions = self.0.sessions(IAM_SESSION)?;
        let mcp = sessions.id_from_name(&format!("mcp/{tenant}/{user}"));
        running(sessions.fetch(&mcp, Participant::revocation(user)).await.map(drop))
    }
}

/// Ignores the error of a damaged object, which does not run and has nothing open.
fn running(closed: isobar_sessions::Result<()>) -> Answer<()> {
    match closed {
        Err(error) if error.kind() == ErrorKind::Damaged => Ok(()),
        closed => Ok(closed?),
    }
}

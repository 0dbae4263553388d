//! Objects that call others by the bindings of their platform.

use isobar_cloudflare::wrangler::{Config, Format};
use isobar_http_serve::{Platform, WranglerPlatform};
use isobar_sessions::{
    Call, Dispatch, Error, ErrorKind, Request, Response, Result, SessionContext, SessionNamespaceExt, SessionObject,
    SessionStub,
};
use serde::{Deserialize, Serialize};

const CONFIG: &str = r#"
name = "tree"
durable_objects.bindings = [
  { name = "NODES", class_name = "Node" },
  { name = "SAME_NODES", class_name = "Node" },
  { name = "ROOTS", class_name = "Root" },
]
"#;

/// Answers with the number of objects from this one to the root.
#[derive(Serialize, Deserialize)]
struct Depth;

impl Call for Depth {
    type Answer = u32;
    const NAME: &'static str = "depth";
}

/// An object that asks the one above it: another node, or the root.
struct Node(SessionContext, Platform);

impl Node {
    async fn depth(&self) -> Result<u32> {
        let name = self.0.id().name().unwrap_or_default();
        let (binding, above) = match name.rsplit_once('/') {
            Some((above, _)) => ("SAME_NODES", above),
            None => ("ROOTS", name),
        };
        let sessions = self.1.sessions(binding).map_err(|error| Error::application(error.to_string()))?;
        Ok(SessionStub::named(sessions, above).call(&Depth).await? + 1)
    }
}

impl SessionObject for Node {
    type Env = Platform;

    async fn start(context: SessionContext, platform: Platform) -> Result<Self> {
        Ok(Self(context, platform))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        Dispatch::new(request).on(async |_: Depth| self.depth().await).finish().await
    }
}

/// The root, which refuses one name.
struct Root(SessionContext);

impl SessionObject for Root {
    type Env = ();

    async fn start(context: SessionContext, (): ()) -> Result<Self> {
        Ok(Self(context))
    }

    async fn fetch(&self, request: Request) -> Result<Response> {
        let is_refused = self.0.id().name() == Some("refused");
        let depth = async |_: Depth| match is_refused {
            true => Err(Error::new(ErrorKind::Constraint, "no tree has this root")),
            false => Ok(1),
        };
        Dispatch::new(request).on(depth).finish().await
    }
}

fn configured() -> WranglerPlatform {
    let config = Config::parse(CONFIG, Format::Toml, None).unwrap();
    WranglerPlatform::new(config).session_class::<Node>("Node", Platform::clone).session_class::<Root>("Root", |_| ())
}

async fn check(platform: &Platform) {
    let nodes = platform.sessions("NODES").unwrap();
    assert_eq!(nodes.call(&nodes.id("oak/branch/leaf"), &Depth).await.unwrap(), 4);
    let error = nodes.call(&nodes.id("refused/branch"), &Depth).await.unwrap_err();
    assert_eq!((error.kind(), error.message()), (ErrorKind::Constraint, "no tree has this root"));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_call_others_and_their_own_kind_in_memory_and_on_files() {
    check(&configured().memory().await.unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let platform = configured().local(folder.path()).await.unwrap();
    check(&platform).await;
    // The environments hold no host: each ends in order with the platform.
    drop(platform);
    let again = configured().local(folder.path()).await.unwrap();
    check(&again).await;
}

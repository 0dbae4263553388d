//! Deploying a site as a whole, and going back. `cargo run -p deploy`.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{Request, StatusCode};
use http_body_util::BodyExt;
use isobar_site::{DeployOptions, Deploys, Site, SiteOptions};
use isobar_storage::ObjectStore;
use isobar_storage::directory::Directory;
use isobar_storage::local::LocalStore;

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Writes a version of the site into a folder, as a site generator would.
fn generate(folder: PathBuf, files: &[(&str, &str)]) -> Outcome<PathBuf> {
    std::fs::create_dir_all(&folder)?;
    for (name, text) in files {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(folder)
}

/// Puts a folder in place as the site, and returns the deploy's id.
async fn deploy(deploys: &Deploys, folder: &Path, message: &str) -> Outcome<String> {
    let source = Directory::open(folder).await?;
    let deployed = deploys.deploy(&source, &DeployOptions::default().with_message(Some(message))).await?;
    println!("deployed {} ({message}): {} objects uploaded", deployed.deploy.id, deployed.uploaded);
    Ok(deployed.deploy.id)
}

/// Asks the site for a path.
async fn get(site: &Site, path: &str) -> Outcome<(StatusCode, String)> {
    let answer = site.respond(&Request::get(path).body(())?).await;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::main]
async fn main() -> Outcome {
    let folder = tempfile::tempdir()?;
    let bucket: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(folder.path().join("bucket")).await?);

    // Both look at the prefix `site/` of the bucket: one writes there, the other one serves what is deployed there.
    let deploys = Deploys::new(Arc::clone(&bucket), "site/");
    let site = Site::new(bucket, SiteOptions::default().with_prefix("site/").with_deploys(true));

    let one = generate(
        folder.path().join("one"),
        &[
            ("index.html", "<h1>One</h1><script src=/app-3f9a1c2b.js></script>"),
            ("app-3f9a1c2b.js", "one()"),
            ("old.html", "an old page"),
        ],
    )?;
    let two = generate(
        folder.path().join("two"),
        &[("index.html", "<h1>Two</h1><script src=/app-0badc0de.js></script>"), ("app-0badc0de.js", "two()")],
    )?;

    let first = deploy(&deploys, &one, "the first version").await?;
    assert!(get(&site, "/").await?.1.contains("One"));

    let second = deploy(&deploys, &two, "the second version").await?;
    assert!(get(&site, "/").await?.1.contains("Two"));
    assert_eq!(get(&site, "/old").await?.0, StatusCode::NOT_FOUND, "what is not deployed is not served");
    // A page of the first version that is open in some browser still finds its script.
    assert_eq!(get(&site, "/app-3f9a1c2b.js").await?, (StatusCode::OK, "one()".to_owned()));

    // The second version is broken? Back to the one before it, at once and without an upload.
    let served = deploys.rollback(None).await?;
    assert_eq!(served.id, first);
    assert!(get(&site, "/").await?.1.contains("One"));
    assert_eq!(get(&site, "/old").await?, (StatusCode::OK, "an old page".to_owned()));
    println!("rolled back to {first}");

    // And forward again, by its id.
    deploys.rollback(Some(&second)).await?;
    assert!(get(&site, "/").await?.1.contains("Two"));
    for deploy in deploys.list().await? {
        let mark = if deploy.is_current { "*" } else { " " };
        println!("{mark} {} {} files, {} bytes", deploy.id, deploy.files, deploy.bytes);
    }

    // Keeps the newest deploy, and deletes what no deploy needs any more.
    let pruned = deploys.prune(1).await?;
    assert_eq!(pruned.deploys, [first]);
    assert_eq!(deploys.list().await?.len(), 1);
    assert!(get(&site, "/").await?.1.contains("Two"));
    println!("pruned {} deploy, {} objects", pruned.deploys.len(), pruned.objects);
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_holds_what_it_says() {
        super::main().expect("every step holds");
    }
}

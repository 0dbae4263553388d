//! Migrations that are part of the program.

use isobar_db::migrations::{self, Migrator};
use isobar_db::{QueryableExt, SqliteDatabase};

#[test]
fn embedded_migrations_are_those_of_the_folder_in_wranglers_order() {
    let embedded = isobar_db::migrations!("tests/migrations");
    let names: Vec<_> = embedded.iter().map(|migration| migration.name.as_str()).collect();
    assert_eq!(names, ["1_users.sql", "2_posts.sql", "10_posts_by_author.sql"], "neither hidden nor other files");
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/migrations");
    assert_eq!(embedded, migrations::from_folder(folder).unwrap());
}

#[tokio::test]
async fn embedded_migrations_are_applied_once() {
    let db = SqliteDatabase::memory().await.unwrap();
    let embedded = isobar_db::migrations!("tests/migrations");
    assert_eq!(migrations::apply(&db, &embedded).await.unwrap().len(), 3);
    assert_eq!(Migrator::default().pending(&db, &embedded).await.unwrap(), []);
    db.prepare("INSERT INTO users (name) VALUES ('Ada')").run().await.unwrap();
    db.prepare("INSERT INTO posts (author) VALUES (1)").run().await.unwrap();
}

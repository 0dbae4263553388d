//! An encrypted column: sealed values, a blind index to find them by, rotation. `cargo run -p encrypted-column`.
#![allow(clippy::print_stdout, reason = "an example speaks")]

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use isobar_db::migrations::{self, Migration};
use isobar_db::vault::{self, Cell, Keyring, Vault};
use isobar_db::{Database, ErrorKind, QueryableExt, SqliteDatabase};

/// The name that values are sealed for, beside table, column and row. It stays, wherever the database goes.
const DATABASE: &str = "tokens-example";

/// The table with the sealed column, and the declaration without which nothing is sealed for it.
const TOKENS: &str = "
CREATE TABLE tokens (id INTEGER PRIMARY KEY, owner TEXT NOT NULL, token BLOB NOT NULL, token_index TEXT NOT NULL UNIQUE);
INSERT INTO vault_columns (table_name, column_name) VALUES ('tokens', 'token');
";

/// The tokens of an application.
struct Tokens {
    database: Arc<dyn Database>,
    vault: Vault,
}

impl Tokens {
    async fn open(database: Arc<dyn Database>, keyring: Keyring) -> isobar_db::Result<Self> {
        // The vault's own tables are a migration like any other.
        let schema = [Migration::new("0001_vault.sql", vault::SCHEMA), Migration::new("0002_tokens.sql", TOKENS)];
        migrations::apply(&*database, &schema).await?;
        let vault = Vault::new(Arc::clone(&database), DATABASE, keyring);
        // Before anything is served: whether this is the keyring that the database was sealed with.
        vault.check().await?;
        Ok(Self { database, vault })
    }

    /// Stores a token. The id has to be known first: the value is sealed for its row.
    async fn add(&self, id: i64, owner: &str, token: &str) -> isobar_db::Result<()> {
        let sealed = self.vault.seal(&cell(id), token.as_bytes()).await?;
        let index = self.vault.blind_index("tokens", "token", token.as_bytes()).await?;
        let insert = "INSERT INTO tokens (id, owner, token, token_index) VALUES (?, ?, ?, ?)";
        self.database.prepare(insert).bind(id).bind(owner).bind(sealed).bind(index).run().await?;
        Ok(())
    }

    /// Finds whose token this is, without opening any.
    async fn owner(&self, token: &str) -> isobar_db::Result<Option<String>> {
        let index = self.vault.blind_index("tokens", "token", token.as_bytes()).await?;
        self.database.prepare("SELECT owner FROM tokens WHERE token_index = ?").bind(index).first().await
    }

    /// The sealed value of a row.
    async fn sealed(&self, id: i64) -> isobar_db::Result<Bytes> {
        let select = self.database.prepare("SELECT token FROM tokens WHERE id = ?").bind(id);
        Ok(select.first_column("token").await?.unwrap_or_default())
    }

    /// The value of a row, opened.
    async fn token(&self, id: i64) -> isobar_db::Result<vault::Secret> {
        self.vault.open(&cell(id), &self.sealed(id).await?).await
    }
}

/// The cell of a token: its table, its column and its row.
fn cell(id: i64) -> Cell<'static> {
    Cell::new("tokens", "token", id)
}

/// Makes a keyring in a file that its owner alone may read, where there is none yet.
fn keyring(path: &Path) -> Result<Keyring, Box<dyn Error>> {
    if !path.exists() {
        Keyring::generate("first")?.write_new(path)?;
    }
    Ok(Keyring::from_file(path)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let keyring_file = folder.path().join("keyring");
    let database: Arc<dyn Database> = Arc::new(SqliteDatabase::memory().await?);
    let tokens = Tokens::open(Arc::clone(&database), keyring(&keyring_file)?).await?;

    tokens.add(1, "ada", "gho_secret-of-ada").await?;
    tokens.add(2, "bob", "gho_secret-of-bob").await?;
    assert_eq!(tokens.token(1).await?.expose(), b"gho_secret-of-ada");
    assert_eq!(tokens.owner("gho_secret-of-bob").await?.as_deref(), Some("bob"));
    println!("tokens are found by their blind index, and open in their own row");

    // What the database holds has nothing of the token in it.
    let sealed = tokens.sealed(1).await?;
    assert!(!sealed.windows(10).any(|bytes| bytes == b"gho_secret"));
    println!("the column holds {} sealed bytes", sealed.len());

    // A value that is copied into another row does not open there.
    database.prepare("UPDATE tokens SET token = ? WHERE id = 2").bind(sealed).run().await?;
    let moved = tokens.token(2).await;
    assert_eq!(moved.err().map(|error| error.kind()), Some(ErrorKind::Sealed));
    database.prepare("DELETE FROM tokens WHERE id = 2").run().await?;
    println!("a copy into another row is refused");

    // A new data key: values are sealed under it from now on, and the sweep seals the old ones anew.
    let before = tokens.sealed(1).await?;
    let key = tokens.vault.rotate().await?;
    let swept = tokens.vault.sweep(|_| ()).await?;
    assert_eq!((swept.sealed, swept.failed.len()), (1, 0));
    assert_ne!(tokens.sealed(1).await?, before);
    assert_eq!(tokens.token(1).await?.expose(), b"gho_secret-of-ada");
    println!("rotated to data key {key}, {} value sealed anew", swept.sealed);

    // Another keyring than the database's is noticed when the application starts, not when a value is needed.
    let other: Keyring = Keyring::generate("first")?.expose_text().unwrap_or_default().parse()?;
    let refused = Tokens::open(database, other).await;
    assert_eq!(refused.err().map(|error| error.kind()), Some(ErrorKind::Sealed));
    println!("the database does not open with another keyring");
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_example_holds_what_it_says() {
        super::main().expect("every step holds");
    }
}

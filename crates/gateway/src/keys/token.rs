//! Bearer tokens, and the S3 secret that is made from one.
//!
//! The form is fixed, so that a token can be looked up by its id and compared in constant time, and so
//! that scanners for leaked secrets find it by its mark. 256 random bits cannot be guessed; a slow
//! hash, as for passwords, would only slow each request.
//!
//! Three values follow from each other, one way: the token, its SHA-256 (the secret access key), and
//! the SHA-256 of that (stored).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use isobar_base::random::{self, NoRandomness};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Beginning of every token, by which scanners find leaked ones.
const MARK: &str = "isobar_";
/// Digits of a key's id.
const ID_DIGITS: usize = 32;
/// Characters of 32 bytes in base64 without padding.
const SECRET_CHARS: usize = 43;

/// A bearer token: `isobar_`, the key's id, `_`, and 256 random bits.
pub(super) struct Token {
    text: Zeroizing<String>,
}

impl Token {
    /// Makes a token for a new key.
    pub(super) fn generate(id: &str) -> Result<Self, NoRandomness> {
        let secret = Zeroizing::new(random::bytes::<32>()?);
        Ok(Self { text: Zeroizing::new(format!("{MARK}{id}_{}", URL_SAFE_NO_PAD.encode(*secret))) })
    }

    /// Reads a token of a request; `None` for what has another form.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let id = text.strip_prefix(MARK)?.get(..ID_DIGITS)?;
        let secret = text.get(MARK.len() + ID_DIGITS..)?.strip_prefix('_')?;
        let fits = is_id(id) && secret.len() == SECRET_CHARS && secret.is_ascii();
        fits.then(|| Self { text: Zeroizing::new(text.to_owned()) })
    }

    /// Returns the key's id.
    pub(super) fn id(&self) -> &str {
        &self.text[MARK.len()..MARK.len() + ID_DIGITS]
    }

    /// Returns the token as clients send it.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The secret access key: the SHA-256 of the token in hexadecimal, as R2 makes it from an API token.
    /// Source: R2's documentation, "Authentication", "Get S3 API credentials from an API token".
    pub(super) fn secret_access_key(&self) -> Zeroizing<String> {
        Zeroizing::new(hex::encode(Sha256::digest(self.text.as_bytes())))
    }

    /// The hash that is stored. It is that of the secret access key, since the hash of the token alone is that key.
    pub(super) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.secret_access_key().as_bytes()).into()
    }

    /// Reports whether the stored hash is this token's, in constant time.
    pub(super) fn matches(&self, stored: &[u8]) -> bool {
        self.hash().ct_eq(stored).into()
    }
}

/// Reports whether a text has the form of a key's id.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == ID_DIGITS && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn token_names_its_key_and_matches_its_hash_alone() {
        let token = Token::generate(ID).unwrap();
        let read = Token::parse(token.text()).unwrap();
        assert_eq!(read.id(), ID);
        assert!(read.matches(&token.hash()));
        assert!(!Token::generate(ID).unwrap().matches(&token.hash()));
        assert!(!token.matches(&[]));
    }

    #[test]
    fn other_forms_are_no_tokens() {
        let good = Token::generate(ID).unwrap().text().to_owned();
        let upper = good.replace("abcdef", "ABCDEF");
        let long = format!("{good}x");
        let wide = format!("{}é", &good[..good.len() - 2]);
        for text in ["", "isobar_", "Bearer", &good[1..], &good[..good.len() - 1], &upper, &long, &wide, "isobar_é"] {
            assert!(Token::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn secret_access_key_is_the_tokens_sha256() {
        let text = format!("isobar_{ID}_{}", "A".repeat(43));
        let token = Token::parse(&text).unwrap();
        assert_eq!(*token.secret_access_key(), hex::encode(Sha256::digest(text.as_bytes())));
    }
}

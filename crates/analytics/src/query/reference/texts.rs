//! The functions of texts, and `LIKE`.
//!
//! A text is bytes. Lengths and offsets count Unicode code points where this page says so: bytes but for those of the form of a
//! continuation (`10xxxxxx`), so that texts which are not UTF-8 have a length, too. Every function of an empty text has a value; none of
//! this page fails but by its pattern.
//!
//! | function | result | rule |
//! |---|---|---|
//! | `length(s)` | `UInt64` | code points. *Difference:* ClickHouse counts bytes |
//! | `empty(s)` | `UInt8` | 1 for `''`, which a blob that is not set is |
//! | `lower(s)`, `upper(s)` | `String` | ASCII letters alone |
//! | `lowerUTF8(s)`, `upperUTF8(s)` | `String` | Unicode, by full case mapping (`ß` becomes `SS`); what is not UTF-8 stays |
//! | `toLower(s)`, `toUpper(s)` | `String` | the same under Cloudflare's names. *Difference:* unknown to ClickHouse |
//! | `startsWith(s, t)`, `endsWith(s, t)` | `UInt8` | by bytes; 1 for an empty `t` |
//! | `position(s, t)`, `position(t IN s)` | `UInt64` | the *byte* of the first `t`, from 1; 0 where there is none; 1 for an empty `t` |
//! | `substring(s, offset)`, `substring(s, offset, length)` | `String` | code points. *Difference:* ClickHouse counts bytes |
//! | `format(pattern, a, ...)` | `String` | the pattern with arguments of any type put in |
//! | `hex(x)`, `bin(x)` | `String` | the bytes of a number, a time or a text in base 16 or 2 |
//! | `s LIKE p`, `s ILIKE p`, and with `NOT` | `UInt8` | the whole text against a pattern |
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT length('é'), empty(''), lower('ÀB'), lowerUTF8('ÀB'), toUpper('àß')"), "1\t1\tÀb\tàb\tÀSS\n");
//! assert_eq!(row("SELECT startsWith('abc', 'ab'), position(':' IN 'é:'), position('a' IN '')"), "1\t3\t0\n");
//! # }
//! ```
//!
//! # `substring`
//!
//! The offset counts from 1, a negative one from the end; 0 gives `''`. A length leaves the rest out; a negative one leaves that many
//! off the end. An offset before the beginning takes what it lacks off the length, as in ClickHouse: of `substring('héllo', -10, 7)` five
//! code points lie before the text, and two are left.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let part = |arguments: &str| analytics.run(&Query::new(format!("SELECT substring('héllo', {arguments})"))).unwrap().text(0, 0);
//! assert_eq!(["2", "2, 2", "0, 2", "-2", "2, -1"].map(part), ["éllo", "él", "", "lo", "éll"]);
//! assert_eq!(["10", "-3, 2", "-10, 7"].map(part), ["", "ll", "hé"]);
//! # }
//! ```
//!
//! # `LIKE`
//!
//! `%` stands for any bytes, `_` for one code point; a backslash before `%`, `_` or a backslash makes it the character, before another one
//! it is itself. A pattern that ends with a single backslash fails the query. `ILIKE` compares the lower case of both by Unicode. The
//! pattern may be a column. The time is at most the length of the pattern times that of the text, and ends with the query's.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT 'abc' LIKE 'a.c', 'é' LIKE '_', 'a/b/c' LIKE 'a%c', 'é' ILIKE 'É'"), "0\t1\t1\t1\n");
//! assert_eq!(row(r"SELECT 'a_b' LIKE 'a\_b', 'axb' LIKE 'a\_b', 'a' NOT LIKE '%'"), "1\t0\t0\n");
//! # }
//! ```
//!
//! # `format`
//!
//! The pattern is a constant with `{}` for the next argument, or `{0}`, `{1}` for arguments by number, not both; `{{` and `}}` are
//! the characters. Arguments are written as in TabSeparated without escapes. A pattern that is wrong or asks for more arguments than there
//! are fails the query.
//!
//! # `hex` and `bin`
//!
//! Integers have as many bytes as their type, big-endian, without leading zero bytes but at least one; a `DateTime` is 32 bits, a `Date`
//! 16. Floats have their 8 bytes as they lie in memory, little-endian. Texts have all of their bytes, and `''` has none.
//!
//! ```
//! # #[cfg(feature = "memory")] {
//! # use isobar_analytics::query::{Analytics, Format, MemoryDatasets, Query};
//! # let analytics = Analytics::new(MemoryDatasets::new());
//! let row = |sql: &str| String::from_utf8(analytics.run(&Query::new(sql)).unwrap().to_bytes(Format::TabSeparated)).unwrap();
//! assert_eq!(row("SELECT format('{0} {1} {0}', 'a', 1.5), format('{{}}', 'a'), format('{}', true)"), "a 1.5 a\t{}\ttrue\n");
//! assert_eq!(row("SELECT hex(255), hex(256), hex(-1), hex('abc'), hex(1.5), hex(0)"), "FF\t0100\tFF\t616263\t000000000000F83F\t00\n");
//! assert_eq!(row("SELECT bin(1), bin(256)"), "00000001\t0000000100000000\n");
//! # }
//! ```

//! With feature `row-counts`: builds the SQLite that rusqlite brings with counters of the rows that a statement reads and writes.
//!
//! Stock SQLite does not count them. workerd builds its SQLite with such counters, at the instructions that move a cursor or write an
//! entry, and D1 reports them; the same instructions count here. The copy is made of the source in the package `libsqlite3-sys`, by
//! additions alone, and is linked before the library which that package builds: each symbol is found in the copy, and the other
//! library is left out. As both have the same symbols, a program has one SQLite.

#[cfg(not(feature = "row-counts"))]
fn main() {
    println!("cargo:rustc-check-cfg=cfg(isobar_counts_rows)");
    println!("cargo:rerun-if-changed=build.rs");
}

#[cfg(feature = "row-counts")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    counted::build()
}

#[cfg(feature = "row-counts")]
mod counted {
    use std::env;
    use std::error::Error;
    use std::fs;
    use std::path::Path;

    /// The flags of `libsqlite3-sys`, but that of the statistics `STAT4`, which workerd's SQLite has not: plans depend on them, and so
    /// do the rows that are read.
    const FLAGS: [&str; 17] = [
        "-DSQLITE_CORE",
        "-DSQLITE_DEFAULT_FOREIGN_KEYS=1",
        "-DSQLITE_ENABLE_API_ARMOR",
        "-DSQLITE_ENABLE_COLUMN_METADATA",
        "-DSQLITE_ENABLE_DBSTAT_VTAB",
        "-DSQLITE_ENABLE_FTS3",
        "-DSQLITE_ENABLE_FTS3_PARENTHESIS",
        "-DSQLITE_ENABLE_FTS5",
        "-DSQLITE_ENABLE_JSON1",
        "-DSQLITE_ENABLE_LOAD_EXTENSION=1",
        "-DSQLITE_ENABLE_RTREE",
        "-DSQLITE_SOUNDEX",
        "-DSQLITE_THREADSAFE=1",
        "-DSQLITE_USE_URI",
        "-DHAVE_USLEEP=1",
        "-DHAVE_ISNAN",
        "-DHAVE_LOCALTIME_R",
    ];

    const READ: &str = "\n  p->aIsobarRows[0]++;\n";
    const WRITTEN: &str = "\n  if( !pC->isEphemeral ) p->aIsobarRows[1]++;\n";

    /// Where an addition stands beside the text that is looked for.
    enum Side {
        Before,
        After,
    }

    /// An addition: beside the first `at` that follows the first `from`.
    struct Addition {
        from: &'static str,
        at: &'static str,
        side: Side,
        code: &'static str,
    }

    const fn addition(from: &'static str, at: &'static str, side: Side, code: &'static str) -> Addition {
        Addition { from, at, side, code }
    }

    /// The counters, the instructions that count, and the function that takes the counts.
    const ADDITIONS: [Addition; 13] = [
        addition("struct Vdbe {", "u32 aCounter[", Side::Before, "sqlite3_int64 aIsobarRows[2];\n  "),
        addition(
            "\ncase OP_Count:",
            "sqlite3BtreeCount(db, pCrsr, &nEntry);",
            Side::After,
            "\n  p->aIsobarRows[0] += nEntry;\n",
        ),
        addition("\ncase OP_SeekGT:", "goto seek_not_found;\n    }\n  }\n", Side::After, READ),
        addition("\ncase OP_NotExists:", "pC->seekResult = res;", Side::After, READ),
        addition("\ncase OP_Insert:", "assert( (pOp->p5 & OPFLAG_LASTROWID)==0", Side::Before, WRITTEN),
        addition("\ncase OP_Delete:", "if( opflags & OPFLAG_NCHANGE ){\n", Side::After, WRITTEN),
        addition(
            "\ncase OP_Last:",
            "pC->nullRow = (u8)res;",
            Side::After,
            "\n  if( rc==SQLITE_OK ) p->aIsobarRows[0]++;\n",
        ),
        addition("\ncase OP_Rewind:", "pC->nullRow = (u8)res;", Side::After, READ),
        addition("\nnext_tail:", "p->aCounter[pOp->p5]++;", Side::After, READ),
        addition("\ncase OP_IdxInsert:", "if( pOp->p5 & OPFLAG_NCHANGE ) p->nChange++;", Side::After, WRITTEN),
        addition("\ncase OP_Clear:", "p->nChange += nChange;", Side::After, "\n  p->aIsobarRows[1] += nChange;\n"),
        addition("\ncase OP_VNext:", "if( rc ) goto abort_due_to_error;", Side::After, READ),
        addition("\ncase OP_VUpdate:", "p->nChange++;", Side::After, "\n  p->aIsobarRows[1]++;\n"),
    ];

    const TAKE: &str = "
SQLITE_API void isobar_sqlite_take_rows(sqlite3_stmt *pStmt, sqlite3_int64 *pRows){
  Vdbe *p = (Vdbe*)pStmt;
  pRows[0] = p->aIsobarRows[0];
  pRows[1] = p->aIsobarRows[1];
  p->aIsobarRows[0] = p->aIsobarRows[1] = 0;
}
";

    pub(super) fn build() -> Result<(), Box<dyn Error>> {
        println!("cargo:rustc-check-cfg=cfg(isobar_counts_rows)");
        println!("cargo:rerun-if-changed=build.rs");
        println!("cargo:rerun-if-env-changed=LIBSQLITE3_FLAGS");
        // On wasm32 there is no SQLite. Windows' linkers may take a symbol from the other library.
        if env::var("CARGO_CFG_TARGET_ARCH")? == "wasm32" || env::var_os("CARGO_CFG_WINDOWS").is_some() {
            return Ok(());
        }
        let folder = env::var("DEP_SQLITE3_INCLUDE").map_err(
            |_| "feature `row-counts` needs the SQLite that libsqlite3-sys bundles: rusqlite's feature `bundled`",
        )?;
        let stock = Path::new(&folder).join("sqlite3.c");
        println!("cargo:rerun-if-changed={}", stock.display());
        let source = fs::read_to_string(&stock).map_err(|error| format!("{}: {error}", stock.display()))?;
        let counted = Path::new(&env::var("OUT_DIR")?).join("sqlite3.c");
        fs::write(&counted, with_counters(source)?)?;
        compile(&counted);
        println!("cargo:rustc-cfg=isobar_counts_rows");
        Ok(())
    }

    /// The source with all additions.
    fn with_counters(mut source: String) -> Result<String, String> {
        for Addition { from, at, side, code } in ADDITIONS {
            let missing =
                |what: &str| format!("this version of SQLite has no {what:?}: build without feature `row-counts`");
            let start = source.find(from).ok_or_else(|| missing(from))?;
            let offset = source[start..].find(at).ok_or_else(|| missing(at))?;
            let place = match side {
                Side::Before => start + offset,
                Side::After => start + offset + at.len(),
            };
            source.insert_str(place, code);
        }
        source.push_str(TAKE);
        Ok(source)
    }

    fn compile(source: &Path) {
        let mut build = cc::Build::new();
        build.file(source).warnings(false).debug(false);
        // Unoptimised, SQLite is several times slower than the limits of time are made for.
        if env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
            build.opt_level(1);
        }
        for flag in FLAGS {
            build.flag(flag);
        }
        for flag in env::var("LIBSQLITE3_FLAGS").unwrap_or_default().split_whitespace() {
            build.flag(if flag.starts_with('-') { flag.to_owned() } else { format!("-D{flag}") });
        }
        build.compile("isobar_sqlite3");
    }
}

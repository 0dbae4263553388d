//! Records of a test file of sqllogictest, in SQLite's own form.

/// Order in which a query's values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    Not,
    Rows,
    Values,
}

/// The outcome that a record expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Success,
    Failure,
    /// Values, one a line, by a type for each column: `I`, `R`, `T`.
    Values {
        types: String,
        sort: Sort,
        values: Vec<String>,
    },
    /// The number of values, and the MD5 of them with a line end behind each.
    Hash {
        types: String,
        sort: Sort,
        count: usize,
        md5: String,
    },
}

/// A statement or a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its first line in the file, counted from 1.
    pub(crate) line: usize,
    pub(crate) sql: String,
    pub(crate) expected: Expected,
}

/// The records that are meant for SQLite, in their order, up to `halt`.
pub(crate) fn parse(text: &str) -> Result<Vec<Record>, String> {
    let mut records = Vec::new();
    let lines: Vec<(usize, &str)> =
        text.lines().enumerate().map(|(index, line)| (index + 1, line.trim_end())).collect();
    let blocks = lines.split(|(_, line)| line.is_empty());
    for block in blocks {
        let block: Vec<(usize, &str)> = block.iter().copied().filter(|(_, line)| !line.starts_with('#')).collect();
        let mut rest = block.as_slice();
        let mut is_meant = true;
        while let [(number, line), after @ ..] = rest {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["skipif", name, ..] => is_meant &= *name != "sqlite",
                ["onlyif", name, ..] => is_meant &= *name == "sqlite",
                ["hash-threshold", ..] => break,
                ["halt", ..] => {
                    if is_meant {
                        return Ok(records);
                    }
                    break;
                }
                ["statement", outcome, ..] => {
                    let expected = match *outcome {
                        "ok" => Expected::Success,
                        "error" => Expected::Failure,
                        other => return Err(format!("line {number}: a statement is ok or error, not {other}")),
                    };
                    if is_meant {
                        records.push(Record { line: *number, sql: sql(after), expected });
                    }
                    break;
                }
                ["query", types, how @ ..] => {
                    if is_meant {
                        let expected = values(*number, types, how, after)?;
                        records.push(Record { line: *number, sql: sql(after), expected });
                    }
                    break;
                }
                _ => return Err(format!("line {number}: unknown record {line:?}")),
            }
            rest = after;
        }
    }
    Ok(records)
}

/// The SQL of a record, up to the line of its values.
fn sql(lines: &[(usize, &str)]) -> String {
    let lines = lines.iter().map(|(_, line)| *line).take_while(|line| *line != "----");
    lines.collect::<Vec<_>>().join("\n")
}

fn values(number: usize, types: &str, how: &[&str], lines: &[(usize, &str)]) -> Result<Expected, String> {
    let sort = match how.first().copied() {
        None | Some("nosort") => Sort::Not,
        Some("rowsort") => Sort::Rows,
        Some("valuesort") => Sort::Values,
        Some(other) => return Err(format!("line {number}: unknown order {other}")),
    };
    let types = types.to_owned();
    let values: Vec<String> =
        lines.iter().map(|(_, line)| *line).skip_while(|line| *line != "----").skip(1).map(str::to_owned).collect();
    if let [line] = values.as_slice()
        && let Some((count, md5)) = line.split_once(" values hashing to ")
    {
        let count = count.parse().map_err(|_| format!("line {number}: {count} is not a number of values"))?;
        return Ok(Expected::Hash { types, sort, count, md5: md5.to_owned() });
    }
    Ok(Expected::Values { types, sort, values })
}

#[test]
fn records_are_read_with_their_conditions() {
    let text = "# a file\nhash-threshold 8\n\nstatement ok\nCREATE TABLE t (a)\n\nskipif sqlite\nstatement ok\nnope\n\nonlyif sqlite\n\
                query IT rowsort x\nSELECT a,\n# b\n1 FROM t\n----\n1\nx\n\nquery I\nSELECT 1\n----\n3 values hashing to ab\n\nstatement \
                error\nnope\n\nhalt\n\nstatement ok\nnever\n";
    let records = parse(text).unwrap();
    let sql: Vec<_> = records.iter().map(|record| (record.line, record.sql.as_str())).collect();
    assert_eq!(sql, [(4, "CREATE TABLE t (a)"), (12, "SELECT a,\n1 FROM t"), (20, "SELECT 1"), (25, "nope")]);
    let values = ["1", "x"].map(str::to_owned).to_vec();
    assert_eq!(records[1].expected, Expected::Values { types: "IT".to_owned(), sort: Sort::Rows, values });
    let hash = Expected::Hash { types: "I".to_owned(), sort: Sort::Not, count: 3, md5: "ab".to_owned() };
    assert_eq!((&records[2].expected, &records[3].expected), (&hash, &Expected::Failure));
    assert!(parse("statement maybe\nx").is_err() && parse("nonsense").is_err());
}

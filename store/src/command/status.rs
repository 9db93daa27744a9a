//! `kstore snapshot status`: what a file holds, as `etcdutl` prints it.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use store_handle::archive::{self, Summary};

use super::say;

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Form {
    Simple,
    Json,
    Table,
}

/// Which file, and how to print it.
#[derive(Clone, Debug, Args)]
pub(super) struct Show {
    file: PathBuf,
    #[arg(short, long, value_enum, default_value = "simple")]
    write_out: Form,
}

impl Show {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let (_, summary) = open(&self.file)?;
        say(&print(&summary, self.write_out));
        Ok(())
    }
}

/// Opens a snapshot, and checks all of it.
pub(super) fn open(path: &Path) -> anyhow::Result<(File, Summary)> {
    let mut file = File::open(path).with_context(|| path.display().to_string())?;
    let summary = archive::check(&mut file).with_context(|| path.display().to_string())?;
    Ok((file, summary))
}

/// A short name of the contents.
fn hash(summary: &Summary) -> u32 {
    let mut first = [0; 4];
    first.copy_from_slice(&summary.sum[..4]);
    u32::from_be_bytes(first)
}

fn print(summary: &Summary, form: Form) -> String {
    let (hash, size) = (hash(summary), human(summary.bytes));
    let Summary { revision, versions, bytes, .. } = summary;
    match form {
        Form::Simple => format!("{hash:x}, {revision}, {versions}, {size}"),
        Form::Json => serde_json::json!({
            "hash": hash, "revision": revision, "totalKey": versions, "totalSize": bytes,
            "version": "trireme-snapshot-1",
        })
        .to_string(),
        Form::Table => {
            let heads = ["HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"].map(str::to_owned);
            let cells = [format!("{hash:x}"), revision.to_string(), versions.to_string(), size];
            table(&heads, &cells)
        }
    }
}

fn table(heads: &[String; 4], cells: &[String; 4]) -> String {
    let widths = std::array::from_fn::<_, 4, _>(|at| heads[at].len().max(cells[at].len()));
    let edge: String = widths.iter().map(|width| format!("+{}", "-".repeat(width + 2))).collect();
    let row = |texts: &[String; 4]| -> String {
        let cells = texts.iter().zip(widths);
        cells.map(|(text, width)| format!("| {text:>width$} ")).collect()
    };
    format!("{edge}+\n{}|\n{edge}+\n{}|\n{edge}+", row(heads), row(cells))
}

/// Bytes as people say them: `25 kB`, `2.1 MB`.
fn human(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let (mut tenths, mut unit) = (u128::from(bytes) * 10, 0);
    while tenths >= 10_000 && unit + 1 < units.len() {
        tenths = (tenths + 500) / 1_000;
        unit += 1;
    }
    match tenths {
        1..100 if unit > 0 => format!("{}.{} {}", tenths / 10, tenths % 10, units[unit]),
        _ => format!("{} {}", (tenths + 5) / 10, units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_said_shortly() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1_056, "1.1 kB"),
            (25_000, "25 kB"),
            (2_149_000, "2.1 MB"),
            (20 << 30, "22 GB"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(human(bytes), expected);
        }
    }

    #[test]
    fn status_is_printed_as_etcdutl_prints_it() {
        let mut sum = [0; 32];
        sum[..4].copy_from_slice(&[0xcf, 0x15, 0x50, 0xfb]);
        let summary =
            Summary { revision: 3, versions: 3, bytes: 25_000, sum, ..Summary::default() };
        assert_eq!(print(&summary, Form::Simple), "cf1550fb, 3, 3, 25 kB");
        assert_eq!(
            print(&summary, Form::Table),
            "\
+----------+----------+------------+------------+
|     HASH | REVISION | TOTAL KEYS | TOTAL SIZE |
+----------+----------+------------+------------+
| cf1550fb |        3 |          3 |      25 kB |
+----------+----------+------------+------------+"
        );
        assert_eq!(
            print(&summary, Form::Json),
            r#"{"hash":3474280699,"revision":3,"totalKey":3,"totalSize":25000,"version":"trireme-snapshot-1"}"#
        );
    }
}

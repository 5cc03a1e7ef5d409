//! A file that is not what it should be, or where it should be, is named with what to do.

use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use catalog::{Catalog, OpenError, ReadError, SqlError, WriteError, params};
use host::sim::SimDisk;
use model::Kind;

use crate::{PUT, ROOM, fresh, host};

#[tokio::test]
async fn all_files_are_for_their_owner_alone() {
    let (catalog, dir) = fresh();
    catalog.write(|tx| Ok(tx.execute(PUT, params!["a", 1])?)).await.expect("written");
    let files: Vec<_> =
        std::fs::read_dir(dir.path()).expect("listed").map(|file| file.expect("a file")).collect();
    assert_eq!(files.len(), 3, "database, log and the log's index: {files:?}");
    for file in files {
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{file:?}");
    }
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("catalog.db");
    let garbage = b"this is a shopping list, not a database. ".repeat(100);
    std::fs::write(&path, &garbage).expect("written");
    let error = Catalog::open(&path, ROOM, &host()).err().expect("refused");
    assert!(matches!(error, OpenError::Sql(SqlError::Damaged { .. })), "{error:?}");
    assert_eq!(error.kind(), Kind::Broken);
    assert_eq!(error.to_string(), format!("catalog `{}` is damaged", path.display()));
    assert!(error.hint().is_some_and(|hint| hint.contains("backup")));
    assert_eq!(std::fs::read(&path).expect("read"), garbage);
}

#[tokio::test]
async fn a_damaged_page_is_found_when_it_is_read_and_no_earlier_answer_is_wrong() {
    let (catalog, dir) = fresh();
    for n in 0..20 {
        let put = "INSERT INTO pairs (key, value, bytes) VALUES ($1, 1, $2)";
        let write = move |tx: &catalog::Transaction<'_>| {
            Ok(tx.execute(put, params![format!("{n:02}").repeat(200), vec![n as u8; 500]])?)
        };
        catalog.write::<usize>(write).await.expect("written");
    }
    catalog.close().await;
    let path = dir.path().join("catalog.db");
    let file = std::fs::OpenOptions::new().write(true).open(&path).expect("opened");
    let pages = file.metadata().expect("there").len() / 4096;
    for page in 4..pages {
        file.write_all_at(&[0xa5; 4096], page * 4096).expect("written");
    }
    let catalog = Catalog::open(&path, ROOM, &host()).expect("what it reads to open is whole");
    let read = catalog.read::<_, ReadError>(|connection| {
        Ok(connection
            .query("SELECT key, bytes FROM pairs ORDER BY key", params![], |row| row.get::<String>(0))?)
    });
    let error = read.expect_err("damaged");
    assert!(matches!(error, ReadError::Sql(SqlError::Damaged { .. })), "{error:?}");
    assert!(error.hint().is_some());
    let write = catalog.write(|tx| Ok(tx.execute("UPDATE pairs SET value = 2", params![])?)).await;
    assert!(matches!(write, Err(WriteError::Sql(SqlError::Damaged { .. }))), "{write:?}");
}

#[test]
fn a_place_where_nothing_can_be_made_is_named_with_what_to_do() {
    let check = |kind: ErrorKind, expect: Kind, hint: &str| {
        let disk = SimDisk::new();
        disk.fail_create_after(0, kind);
        let host = host::Host { disk: Arc::new(disk), ..host() };
        let error = Catalog::open(Path::new("/nowhere/catalog.db"), ROOM, &host).err().expect("refused");
        assert_eq!(error.to_string(), "cannot open catalog `/nowhere/catalog.db`");
        assert_eq!(error.kind(), expect);
        assert!(error.hint().is_some_and(|says| says.contains(hint)), "{kind:?}: {:?}", error.hint());
    };
    check(ErrorKind::ReadOnlyFilesystem, Kind::Broken, "mounted read-only");
    check(ErrorKind::PermissionDenied, Kind::Broken, "the right to write");
    check(ErrorKind::StorageFull, Kind::TooMuch, "make room");
    check(ErrorKind::NotFound, Kind::Broken, "make the directory");
}

//! A copy made while others write.

use std::os::unix::fs::PermissionsExt;

use catalog::{Catalog, OpenError, ReadError, params};
use host::SystemDisk;

use crate::{PUT, ROOM, fresh, host};

fn keys(catalog: &Catalog) -> Vec<String> {
    catalog
        .read::<_, ReadError>(|connection| {
            Ok(connection.query("SELECT key FROM pairs ORDER BY key", params![], |row| row.get(0))?)
        })
        .expect("read")
}

#[tokio::test]
async fn what_was_acknowledged_before_a_copy_is_in_it_and_writers_go_on() {
    let (catalog, dir) = fresh();
    catalog.write(|tx| Ok(tx.execute(PUT, params!["before", 1])?)).await.expect("written");
    // A reader's snapshot is open meanwhile, as in a server.
    let to = dir.path().join("copy.db");
    catalog
        .read::<_, ReadError>(|_| {
            catalog.copy_to(&to, &SystemDisk).expect("copied");
            Ok(())
        })
        .expect("read");
    catalog.write(|tx| Ok(tx.execute(PUT, params!["after", 2])?)).await.expect("written");
    assert_eq!(std::fs::metadata(&to).expect("there").permissions().mode() & 0o777, 0o600);
    let copied = Catalog::open(&to, ROOM, &host()).expect("a database like any other");
    assert_eq!(keys(&copied), ["before"]);
    assert_eq!(keys(&catalog), ["after", "before"]);

    let again = catalog.copy_to(&to, &SystemDisk).expect_err("refused");
    assert!(matches!(again, OpenError::File { .. }), "a file is never written over: {again}");
}

#[tokio::test]
async fn a_copy_of_a_database_that_was_not_closed_has_what_its_log_holds() {
    let (catalog, dir) = fresh();
    catalog.write(|tx| Ok(tx.execute(PUT, params!["in the log", 1])?)).await.expect("written");
    // As a kill leaves it: database and log, nobody has them open.
    let killed = tempfile::tempdir().expect("a directory");
    for name in ["catalog.db", "catalog.db-wal"] {
        std::fs::copy(dir.path().join(name), killed.path().join(name)).expect("copied");
    }
    let to = killed.path().join("copy.db");
    catalog::copy(&killed.path().join("catalog.db"), &to, &SystemDisk).expect("copied");
    assert_eq!(keys(&Catalog::open(&to, ROOM, &host()).expect("opened")), ["in the log"]);
}

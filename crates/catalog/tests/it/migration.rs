//! The tables of the rooms come up to date together, or not at all.

use catalog::{Catalog, Migration, OpenError, ReadError, params};

use crate::host;

const fn step(room: &'static str, version: u32, sql: &'static str) -> Migration {
    Migration { room, version, sql }
}

const A1: Migration = step("a", 1, "CREATE TABLE a (x BIGINT PRIMARY KEY); INSERT INTO a VALUES (1);");
const A2: Migration = step("a", 2, "UPDATE a SET x = x * 10 + 2;");
const B1: Migration = step("b", 1, "CREATE TABLE b (y BIGINT);");
const BAD: Migration = step("a", 2, "UPDATE a SET x = 7; UPDATE nowhere SET x = 7;");

fn open(dir: &tempfile::TempDir, migrations: &[Migration]) -> Result<Catalog, OpenError> {
    Catalog::open(&dir.path().join("catalog.db"), migrations, &host())
}

fn x(catalog: &Catalog) -> Option<i64> {
    let read = |c: &catalog::Connection<'_>| Ok(c.query_one("SELECT x FROM a", params![], |row| row.get(0))?);
    catalog.read::<_, ReadError>(read).expect("read")
}

#[tokio::test]
async fn every_step_happens_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    for (migrations, expect) in
        [(&[A1][..], 1), (&[A1, B1][..], 1), (&[A1, B1, A2][..], 12), (&[B1, A1, A2][..], 12)]
    {
        let catalog = open(&dir, migrations).expect("opened");
        assert_eq!(x(&catalog), Some(expect));
        catalog.close().await;
    }
}

#[tokio::test]
async fn a_step_that_fails_undoes_all_steps_of_its_opening() {
    let dir = tempfile::tempdir().expect("a directory");
    open(&dir, &[A1]).expect("opened").close().await;
    let error = open(&dir, &[A1, B1, BAD]).err().expect("refused");
    assert_eq!(error.to_string(), "cannot bring the tables of `a` to version 2");
    let catalog = open(&dir, &[A1, B1]).expect("`b` was not made, so it is made now");
    assert_eq!(x(&catalog), Some(1));
}

#[tokio::test]
async fn tables_of_a_newer_version_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    open(&dir, &[A1, A2, B1]).expect("opened").close().await;
    let check = |migrations: &[Migration], expect: &str| {
        let error = open(&dir, migrations).err().expect("refused");
        assert!(matches!(error, OpenError::Newer { .. }), "{error:?}");
        assert!(error.to_string().ends_with(expect), "{error}");
        assert!(error.hint().is_some());
    };
    check(&[A1, B1], "has version 2 of the tables of `a`; this version of Godwit knows versions up to 1");
    check(&[A1, A2], "has version 1 of the tables of `b`; this version of Godwit knows versions up to 0");
    assert_eq!(x(&open(&dir, &[A1, A2, B1]).expect("opened")), Some(12), "nothing was changed");
}

#[test]
#[should_panic(expected = "the migrations of `a` must be numbered 1, 2, 3")]
fn steps_out_of_order_are_a_mistake_of_the_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let _ = open(&dir, &[A2, A1]);
}

//! Readers see one moment and change nothing; values go in and come out as they are.

use bytestring::ByteString;
use catalog::{FromValue, READERS_MAX, ReadError, SqlError, ToValue, params};
use model::{DeviceName, Kind, Timestamp};
use proptest::prelude::*;

use crate::{PUT, fresh};

#[test]
fn a_reader_cannot_change_anything() {
    let (catalog, _dir) = fresh();
    let tried = catalog.read::<_, ReadError>(|connection| {
        Ok(connection.query(
            "INSERT INTO pairs (key, value) VALUES ('a', 1) RETURNING key",
            params![],
            |_| Ok(()),
        )?)
    });
    assert!(matches!(tried, Err(ReadError::Sql(SqlError::ReadOnly { .. }))), "{tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_sees_one_moment_and_the_next_one_sees_what_was_answered() {
    let (catalog, _dir) = fresh();
    let inside = catalog.clone();
    let runtime = tokio::runtime::Handle::current();
    let read = catalog.read_async::<_, ReadError>(move |connection| {
        let count = || connection.query_one("SELECT count(*) FROM pairs", params![], |row| row.get::<u64>(0));
        let before = count()?;
        let written = runtime.block_on(inside.write(|tx| Ok(tx.execute(PUT, params!["a", 1])?)));
        assert_eq!(written, Ok(1), "a writer does not wait for a reader");
        Ok((before, count()?))
    });
    assert_eq!(read.await, Ok((Some(0), Some(0))));
    assert_eq!(crate::pairs(&catalog).len(), 1);
}

#[tokio::test]
async fn a_reader_that_panics_gives_its_connection_back() {
    let (catalog, _dir) = fresh();
    for _ in 0..=READERS_MAX {
        let read = catalog.read_async::<(), ReadError>(|_| panic!("a bug in a room")).await;
        assert_eq!(read, Err(ReadError::Panicked));
    }
    assert_eq!(crate::pairs(&catalog), []);
}

#[test]
fn more_readers_than_connections_take_turns() {
    let (catalog, _dir) = fresh();
    std::thread::scope(|scope| {
        for _ in 0..READERS_MAX * 4 {
            scope.spawn(|| assert_eq!(crate::pairs(&catalog), []));
        }
    });
}

#[test]
fn a_parameter_is_found_by_its_number_wherever_it_stands() {
    let (catalog, _dir) = fresh();
    let read = catalog.read::<_, ReadError>(|connection| {
        Ok(connection.query_one("SELECT $2 || $1 || $2", params!["a", "b"], |row| row.get::<String>(0))?)
    });
    assert_eq!(read, Ok(Some("bab".to_owned())));
}

#[test]
fn statements_whose_parameters_do_not_fit_are_refused() {
    let (catalog, _dir) = fresh();
    let check = |sql: &str, params: &[&dyn ToValue], expect: &str| {
        let error = catalog
            .read::<_, ReadError>(|connection| Ok(connection.query(sql, params, |_| Ok(()))?))
            .expect_err("refused");
        assert_eq!(error.kind(), Kind::Broken);
        let ReadError::Sql(SqlError::Statement { source, .. }) = error else { panic!("{error:?}") };
        assert!(source.to_string().contains(expect), "{source}");
    };
    check("SELECT $1, $2", params![1], "names 2 parameters and was given 1");
    check("SELECT 1", params![1], "names 0 parameters and was given 1");
    check("SELECT $1, $3", params![1, 2], "must be `$1` to `$2`");
    check("SELECT ?", params![1], "must be `$1` to `$1`");
    check("SELECT $1", params![u64::MAX], "does not fit a column");
    check("SELECT $1", params![f64::NAN], "does not fit a column");
    check("SELEKT", params![], "syntax error");
}

#[test]
fn a_column_that_holds_something_else_is_an_error() {
    let (catalog, _dir) = fresh();
    let read = |sql: &str| {
        catalog.read::<_, ReadError>(|c| Ok(c.query_one(sql, params![], |row| row.get::<u32>(0))?))
    };
    assert_eq!(read("SELECT 7"), Ok(Some(7)));
    for (sql, found) in [("SELECT 'x'", "text"), ("SELECT NULL", "null"), ("SELECT -1", "a whole number")] {
        let Err(ReadError::Sql(SqlError::Column { column: 0, found: says, .. })) = read(sql) else {
            panic!("{sql}")
        };
        assert_eq!(says, found);
    }
}

proptest! {
    #[test]
    fn values_come_out_as_they_went_in(
        text in ".{0,40}",
        bytes in prop::collection::vec(any::<u8>(), 0..40),
        number in any::<i64>(),
        real in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::INFINITE | prop::num::f64::SUBNORMAL,
        flag in any::<bool>(),
        name in "[A-Za-z0-9:_-]{1,128}",
    ) {
        let (catalog, _dir) = shared();
        fn through<T: FromValue + ToValue>(catalog: &catalog::Catalog, value: &T) -> T {
            let read = |c: &catalog::Connection<'_>| Ok(c.query_one("SELECT $1", params![value], |row| row.get(0))?);
            catalog.read::<_, ReadError>(read).expect("read").expect("a row")
        }
        prop_assert_eq!(through(catalog, &text), text.clone());
        prop_assert_eq!(through(catalog, &ByteString::from(text.clone())), ByteString::from(text));
        prop_assert_eq!(through(catalog, &bytes), bytes);
        prop_assert_eq!(through(catalog, &number), number);
        prop_assert_eq!(through(catalog, &Timestamp::from_micros(number)).micros(), number);
        prop_assert_eq!(through(catalog, &Some(number)), Some(number));
        prop_assert_eq!(through(catalog, &None::<i64>), None);
        prop_assert_eq!(through(catalog, &real), real);
        prop_assert_eq!(through(catalog, &flag), flag);
        let name = DeviceName::parse(name).expect("a name");
        prop_assert_eq!(through(catalog, &name), name);
    }
}

fn shared() -> &'static (catalog::Catalog, tempfile::TempDir) {
    static SHARED: std::sync::OnceLock<(catalog::Catalog, tempfile::TempDir)> = std::sync::OnceLock::new();
    SHARED.get_or_init(fresh)
}

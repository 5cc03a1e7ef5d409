//! Any mixture of operations that succeed, fail half-way and panic leaves what the successes alone would leave.

use std::collections::BTreeMap;
use std::sync::{Once, mpsc};

use catalog::{WriteError, params};
use proptest::prelude::*;

use crate::{PUT, fresh, hold_writer, pairs};

#[derive(Debug, Clone, Copy)]
enum Ending {
    Well,
    ByError,
    ByPanic,
}

#[derive(Debug, Clone)]
struct Operation {
    puts: Vec<(u8, i64)>,
    deletes: Option<u8>,
    ending: Ending,
}

fn operation() -> impl Strategy<Value = Operation> {
    let ending = prop_oneof![4 => Just(Ending::Well), 1 => Just(Ending::ByError), 1 => Just(Ending::ByPanic)];
    (prop::collection::vec((0..8_u8, 0..100_i64), 0..4), prop::option::of(0..8_u8), ending)
        .prop_map(|(puts, deletes, ending)| Operation { puts, deletes, ending })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(40)
    ))]
    #[test]
    fn what_is_left_is_what_the_successes_made(groups in prop::collection::vec(prop::collection::vec(operation(), 1..20), 1..4)) {
        silence_the_writer();
        let (catalog, _dir) = fresh();
        let mut model = BTreeMap::new();
        for group in groups {
            let held = hold_writer(&catalog);
            let (answers, answered) = mpsc::channel();
            for operation in &group {
                if matches!(operation.ending, Ending::Well) {
                    model.extend(operation.puts.iter().map(|(key, value)| (key.to_string(), *value)));
                    operation.deletes.and_then(|key| model.remove(&key.to_string()));
                }
                let (operation, answers) = (operation.clone(), answers.clone());
                let op = move |tx: &catalog::Transaction<'_>| {
                    for (key, value) in &operation.puts {
                        tx.execute(PUT, params![key.to_string(), *value])?;
                    }
                    if let Some(key) = operation.deletes {
                        tx.execute("DELETE FROM pairs WHERE key = $1", params![key.to_string()])?;
                    }
                    match operation.ending {
                        Ending::Well => Ok(()),
                        Ending::ByError => Err(WriteError::Closed),
                        Ending::ByPanic => panic!("as asked"),
                    }
                };
                let done = move |result: Result<(), WriteError>| answers.send(result.is_ok()).expect("the test waits");
                catalog.submit(op, done).expect("taken");
            }
            drop((held, answers));
            let expect: Vec<_> = group.iter().map(|operation| matches!(operation.ending, Ending::Well)).collect();
            prop_assert_eq!(answered.iter().collect::<Vec<_>>(), expect);
            prop_assert_eq!(pairs(&catalog), model.clone().into_iter().collect::<Vec<_>>());
        }
    }
}

/// The panics that are asked for happen on the writer's thread; everybody else's are still reported.
fn silence_the_writer() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some("catalog") {
                report(panic);
            }
        }));
    });
}

//! What `docs/expressions.md` shows is true.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod common;

use common::{compiled, names};
use rheostat_expression::compile;

const DOCUMENT: &str = include_str!("../../../docs/expressions.md");

#[test]
fn every_example_is_taken() {
    let mut examples = 0;
    for block in DOCUMENT.split("```expression\n").skip(1) {
        for line in block.split("```").next().unwrap().lines() {
            compiled(line);
            examples += 1;
        }
    }
    assert_eq!(examples, 9);
}

#[test]
fn what_is_said_to_be_refused_is() {
    let table = DOCUMENT.split("| refused | why | instead |").nth(1).unwrap();
    let mut rows = 0;
    for row in table.split("\n\n").next().unwrap().lines().skip(2) {
        let row = row.replace("\\|", "¦");
        let cells: Vec<_> = row
            .split('|')
            .map(|cell| cell.trim().trim_matches('`').replace('¦', "|"))
            .collect();
        assert!(compile(&cells[1], &names()).is_err(), "{} is taken", cells[1]);
        compiled(&cells[3]);
        rows += 1;
    }
    assert_eq!(rows, 6);
}

//! The plan of every statement: none reads a whole table that grows.

use sqlx::{AssertSqlSafe, Row};

use crate::{audit, list, open, sql};

/// Tables of few rows whatever happens: one per phase, per key, per run of the program, or one at all;
/// and a list that is bound.
const SMALL: [&str; 6] =
    ["phase_count", "api_key", "total", "deployment", "json_each", "audit_chain"];

#[tokio::test]
async fn no_statement_reads_a_whole_table() {
    let directory = tempfile::tempdir().expect("a directory");
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut db = open::writer(&directory.path().join("s.db"), now).await.expect("opens");
    let mut shapes = list::shapes();
    shapes.extend(audit::shapes());
    assert!(shapes.len() > 190, "{} shapes of filters", shapes.len());
    let shapes = shapes.iter().map(|shape| ("a page", shape));
    let mut explained = 0;
    for (name, statement) in sql::ALL.iter().map(|(name, sql)| (*name, sql)).chain(shapes) {
        let text = format!("EXPLAIN QUERY PLAN {}", statement.text());
        let plan = sqlx::query(AssertSqlSafe(text)).fetch_all(&mut db).await;
        let plan = plan.unwrap_or_else(|error| panic!("{name}: {error}: {}", statement.text()));
        explained += 1;
        for row in plan {
            let detail: String = row.get("detail");
            let scanned = detail.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let small = scanned.is_none_or(|table| SMALL.contains(&table));
            assert!(small, "{name}: {detail}: {}", statement.text());
        }
    }
    assert!(explained > 230, "{explained} statements were explained");
}

#[tokio::test]
async fn the_check_of_plans_would_notice_a_scan() {
    let directory = tempfile::tempdir().expect("a directory");
    let now = jiff::Timestamp::UNIX_EPOCH;
    let mut db = open::writer(&directory.path().join("s.db"), now).await.expect("opens");
    let plan = sqlx::query("EXPLAIN QUERY PLAN SELECT id FROM session WHERE cores = 3");
    let rows = plan.fetch_all(&mut db).await.expect("explained");
    let detail: String = rows[0].get("detail");
    assert!(detail.starts_with("SCAN session"), "{detail}");
}
